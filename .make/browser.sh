#!/bin/sh
# Prints a browser that the tests of the web page can drive; nothing where there is none. `browser.sh install` gets one, as root.
set -eu

find_browser() {
  for candidate in ${PARLEY_BROWSER:-} chromium google-chrome google-chrome-stable chromium-browser; do
    # Ubuntu's chromium-browser is a note that says to install a snap.
    if "$candidate" --version >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
}

browser=$(find_browser)
if [ "${1:-}" != install ]; then
  [ -z "$browser" ] || printf '%s\n' "$browser"
  exit 0
fi
[ -z "$browser" ] || exit 0
line="apt-get install -y --no-install-recommends chromium"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "== no browser for the tests of the web page; running as root, so installing one: $line"
  mkdir -p build/log
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive $line; } </dev/null >build/log/browser.log 2>&1 || true
  browser=$(find_browser)
fi
[ -n "$browser" ] || echo "== no browser here: the tests of the web page are skipped; to have them: sudo $line"
