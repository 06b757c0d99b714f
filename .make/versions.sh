#!/bin/sh
# Tries the wheels of dist/ with the lowest and the newest ONNX Runtime that parley takes, in environments of their own.
set -eu

lowest=$(sed -n 's/.*"onnxruntime>=\([0-9.]*\)".*/\1/p' pyproject.toml)
recording=apps/parley_apps/data/conversation.wav
tried=0
for python in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14; do
  tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])' 2>/dev/null) || continue
  wheel=$(ls -t dist/parley-*-"$tag"-*.whl 2>/dev/null | head -n 1)
  [ -n "$wheel" ] || continue
  case " ${seen:-} " in *" $tag "*) continue ;; esac
  seen="${seen:-} $tag"
  for onnxruntime in "onnxruntime==$lowest.*" onnxruntime; do
    venv=build/versions/$tag
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet "$onnxruntime" "$wheel" dist/parley_llama-*.whl
    version=$("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("onnxruntime"))')
    "$venv/bin/parley" talk nano --in "$recording" --out "$venv/answer.wav" | grep -q "hello how can i help"
    echo "   $tag with ONNX Runtime $version: nano answers"
    tried=$((tried + 1))
  done
done
[ "$tried" -gt 0 ] || { echo "no wheel for any Python here; make wheel makes one (PYTHON=... chooses)"; exit 1; }
