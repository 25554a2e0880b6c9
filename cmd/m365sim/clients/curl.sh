#!/bin/sh
# The Management Activity API page by page with curl against a running m365sim: start, list, content with pages, a blob, friendly names, stop.
#   curl.sh URL CA TENANT
set -eu
url=$1 ca=$2 tenant=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
call() { curl -sS --compressed --cacert "$ca" -H "Authorization: Bearer $token" "$@"; }
expect() { case $1 in *"$2"*) echo "ok: $3" ;; *) echo "not ok: $3: $1" >&2; exit 1 ;; esac; }

token=$(curl -sS --cacert "$ca" "$url/$tenant/oauth2/token" -d grant_type=client_credentials -d client_id=8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b \
	-d client_secret=simulator-secret -d resource=https://manage.office.com | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
feed=$url/api/v1.0/$tenant/activity/feed
p="PublisherIdentifier=$tenant"
type=Audit.Exchange

expect "$(call "$feed/subscriptions/content?contentType=$type&$p")" AF20022 "no content before start"
expect "$(call -X POST -d '' "$feed/subscriptions/start?contentType=$type&$p")" '"status":"enabled"' "start"
expect "$(call -X POST -d '' "$feed/subscriptions/start?contentType=$type&$p")" AF20024 "start again"
expect "$(call "$feed/subscriptions/list?$p")" "\"contentType\":\"$type\"" "list"
next="$feed/subscriptions/content?contentType=$type&startTime=$(date -u -d '-20 hours' +%Y-%m-%dT%H:%M:%S)&endTime=$(date -u +%Y-%m-%dT%H:%M:%S)"
pages=0
while [ -n "$next" ]; do
	call -D "$tmp/head" "$next&$p" >>"$tmp/pages"
	next=$(sed -n 's/^[Nn]ext[Pp]age[Uu]ri: *\([^ ]*\)\r$/\1/p' "$tmp/head")
	pages=$((pages + 1))
done
blobs=$(grep -o '"contentUri":"[^"]*"' "$tmp/pages" | cut -d'"' -f4 | sort -u)
expect "$(echo "$blobs" | wc -l) $pages" " $pages" "content: $(echo "$blobs" | wc -l) blobs on $pages pages"
records=0
for blob in $blobs; do
	n=$(call "$blob?$p" | grep -o '"OrganizationId"' | wc -l)
	records=$((records + n))
done
expect "$records" "" "blobs: $records records"
expect "$(call "$feed/resources/dlpSensitiveTypes?$p")" CreditCardNumber "friendly names"
expect "$(call "$feed/subscriptions/notifications?contentType=$type&$p")" "[]" "notifications"
expect "$(call -o /dev/null -w '%{http_code} %{size_download}' -X POST -d '' "$feed/subscriptions/stop?contentType=$type&$p")" "200 0" "stop"
expect "$(call "$feed/subscriptions/content?contentType=$type&$p")" AF20023 "no content after stop"
