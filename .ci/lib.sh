# Shared by .ci/run and .ci/checks: named steps with their times, and a clear line where one fails. Sourced, never run.

steps_file=${CI_STEPS_FILE:-$(mktemp)}
export CI_STEPS_FILE=$steps_file
failed_steps=0

# check NAME COMMAND… runs a command as a named step. A failing check says how to repeat it, and the others still run, so that one run shows everything that
# is wrong; finish makes the script fail.
check() {
  local name=$1 started=$SECONDS code=0
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  "$@" || code=$?
  if [ "$code" -eq 0 ]; then
    printf '%6ds  ok      %s\n' $((SECONDS - started)) "$name" >>"$steps_file"
    return
  fi
  failed_steps=$((failed_steps + 1))
  printf '%6ds  FAILED  %s: %s\n' $((SECONDS - started)) "$name" "$*" >>"$steps_file"
  printf '\nFAILED: %s ended with exit code %d. Repeat it with: %s\n' "$name" "$code" "$*" >&2
}

# need NAME COMMAND… is a check that everything after it depends on: when it fails, the script ends.
need() {
  check "$@"
  [ "$failed_steps" -eq 0 ] || exit 1
}

# summary prints the steps so far and the time of the whole.
summary() {
  printf '\nSteps:\n'
  cat "$steps_file"
  printf '%6ds  in all\n' "$SECONDS"
}

# finish ends the script: with 1 if a check failed.
finish() {
  [ "$failed_steps" -eq 0 ] || {
    printf '\n%s: %d checks failed, see above.\n' "$0" "$failed_steps" >&2
    exit 1
  }
}
