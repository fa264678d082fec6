#!/usr/bin/env bash
# Calls the status API with curl, as somebody who has its key.
#
#   api.sh GET '/emails/ID/status?api-version=2021-10-01-preview'
#   api.sh POST /emails:retry '{"filter":{"class":"transient"},"dryRun":true}'
#   api.sh POST /receipts/mdn @notification.eml      a whole mail, as it was received
#   api.sh GET '/chat/threads/ID/readReceipts?api-version=2025-03-15'
#   api.sh token chat        a token that is good for an hour; or management
#
# API_ACCESS_KEYS is the service's setting, of which the first key signs; API_URL
# is where it runs (http://127.0.0.1:8080). Headers of the answer go to standard
# error. Needs curl and openssl, to which the key is an argument: not for machines
# on which others may look at processes.
set -euo pipefail
if [ $# -lt 2 ]; then
	sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi

url=${API_URL:-http://127.0.0.1:8080}
url=${url%/}
key=$(openssl base64 -d -A <<<"${API_ACCESS_KEYS%%,*}" | od -An -v -tx1 | tr -d ' \n')

hmac() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary; }
url64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# token prints a JSON Web Token with a scope (RFC 7519, HS256).
token() {
	local text
	text=$(printf '{"alg":"HS256","typ":"JWT"}' | url64).$(printf '{"sub":"api.sh","scope":"%s","exp":%d}' "$1" $(($(date +%s) + 3600)) | url64)
	printf '%s.%s\n' "$text" "$(printf %s "$text" | hmac | url64)"
}

if [ "$1" = token ]; then
	token "$2"
	exit
fi

method=$1 path=$2 body=$(mktemp) headers=$(mktemp)
trap 'cat "$headers" >&2; rm -f "$body" "$headers"' EXIT
case ${3-} in
@*) cat "${3#@}" >"$body" ;;
*) printf %s "${3-}" >"$body" ;;
esac

case $path in
/chat/*) auth=(-H "Authorization: Bearer $(token chat)") ;;
/subscriptions/*) auth=(-H "Authorization: Bearer $(token management)") ;;
*)
	when=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
	hash=$(openssl dgst -sha256 -binary "$body" | openssl base64 -A)
	signature=$(printf '%s\n%s\n%s;%s;%s' "$method" "$path" "$when" "${url#*://}" "$hash" | hmac | openssl base64 -A)
	auth=(-H "x-ms-date: $when" -H "x-ms-content-sha256: $hash"
		-H "Authorization: HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=$signature")
	;;
esac

type=application/json
[ "$path" = /receipts/mdn ] && type=message/rfc822
[ "$method" = GET ] || auth+=(-H "Content-Type: $type" --data-binary "@$body")
curl -sS --path-as-is -X "$method" "${auth[@]}" -D "$headers" "$url$path"
