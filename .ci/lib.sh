# Shared by .ci/run and .ci/checks: named steps with their times, and a clear line where one fails. Sourced, never run.

steps_file=${MILLRACE_STEPS:-$(mktemp)}
export MILLRACE_STEPS=$steps_file

# step NAME COMMAND… runs a command as a named step. A failing step ends the script with its name, its exit code and the command to repeat it.
step() {
  local name=$1 started=$SECONDS code=0
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  "$@" || code=$?
  if [ "$code" -ne 0 ]; then
    printf '%6ds  FAILED  %s\n' $((SECONDS - started)) "$name" >>"$steps_file"
    printf '\nFAILED: step "%s" ended with exit code %d. Repeat it with: %s\n' "$name" "$code" "$*" >&2
    exit 1
  fi
  printf '%6ds  ok      %s\n' $((SECONDS - started)) "$name" >>"$steps_file"
}

# summary prints the steps so far and the time of the whole.
summary() {
  printf '\nSteps:\n'
  cat "$steps_file"
  printf '%6ds  in all\n' "$SECONDS"
}
