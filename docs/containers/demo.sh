#!/bin/sh
# The demo against the engines that the environment names; arguments go to `orla demo`.
#
# BACKEND is ollama, vllm, sglang or sim. The servers' OpenAI-compatible wire is used for all of them.
set -eu

missing() {
  echo "orla-demo: $1 is not set; see docs/containers/README.md" >&2
  exit 2
}

case "${BACKEND:-sim}" in
  sim)
    exec node /orla/dist/src/cli/main.js demo "$@"
    ;;
  ollama)
    light_url=${OLLAMA_URL:-}
    heavy_url=${OLLAMA_URL:-}
    [ -n "$light_url" ] || missing OLLAMA_URL
    ;;
  vllm)
    light_url=${VLLM_LIGHT_URL:-}
    heavy_url=${VLLM_HEAVY_URL:-}
    [ -n "$light_url" ] || missing VLLM_LIGHT_URL
    [ -n "$heavy_url" ] || missing VLLM_HEAVY_URL
    ;;
  sglang)
    light_url=${SGLANG_LIGHT_URL:-}
    heavy_url=${SGLANG_HEAVY_URL:-}
    [ -n "$light_url" ] || missing SGLANG_LIGHT_URL
    [ -n "$heavy_url" ] || missing SGLANG_HEAVY_URL
    ;;
  *)
    echo "orla-demo: BACKEND is \"$BACKEND\"; it can be ollama, vllm, sglang or sim" >&2
    exit 2
    ;;
esac

[ -n "${LIGHT_MODEL:-}" ] || missing LIGHT_MODEL
[ -n "${HEAVY_MODEL:-}" ] || missing HEAVY_MODEL

ORLA_BACKEND=openai
export ORLA_BACKEND
exec node /orla/dist/src/cli/main.js demo \
  --light-url "$light_url" --light-model "$LIGHT_MODEL" \
  --heavy-url "$heavy_url" --heavy-model "$HEAVY_MODEL" "$@"
