#!/usr/bin/env bash
# Makes a typed Python client of a running server's OpenAPI document: the package textmill_api in the folder FOLDER.
#
#     ./generate.sh FOLDER
#
# The generator is installed into an environment of its own, .venv in FOLDER, unless GENERATOR names the command.
set -euo pipefail
: "${TEXTMILL_URL:?is not set; the server prints it when it starts}"
folder=${1:?names no folder: ./generate.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$folder"

if [[ -z ${GENERATOR:-} ]]; then
    python3 -m venv "$folder/.venv"
    "$folder/.venv/bin/pip" install --quiet \
        --requirement "$here/requirements.txt" --constraint "$here/constraints.txt"
    GENERATOR=$folder/.venv/bin/openapi-python-client
fi
# It tidies up with ruff, which lies beside it.
PATH=$(dirname "$GENERATOR"):$PATH "$GENERATOR" generate --url "$TEXTMILL_URL/openapi.json" \
    --config "$here/config.yml" --meta none --output-path "$folder/textmill_api" --overwrite --fail-on-warning
