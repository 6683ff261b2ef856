#!/bin/sh
# Builds the fuzz targets with libFuzzer, ASan and UBSan and runs each: cext/fuzz/run.sh [SECONDS [TARGET ...]]
# Seeds are the golden gzip files without their headers, and what was found before (found/). Findings are left in the
# working directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:-60}
[ $# -gt 0 ] && shift
work=${FUZZ_DIR:-$here/../../build/fuzz}
mkdir -p "$work/seeds"
for file in "$here"/../../tests/golden/gzip/*.gz; do
    { printf '\006'; tail -c +11 "$file" | head -c -8; } > "$work/seeds/$(basename "$file" .gz)"
done
for source in "$here"/fuzz_*.c; do
    name=$(basename "$source" .c)
    [ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    ${CC:-clang} -std=c11 -O1 -g -fno-strict-aliasing -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        -I"$here/.." "$source" "$here"/../matching/*.c "$here"/../deflate/*.c -o "$work/$name"
    mkdir -p "$work/corpus-$name"
    "$work/$name" -max_total_time="$seconds" -max_len=100000 -rss_limit_mb=3000 -timeout=120 -print_final_stats=1 \
        -artifact_prefix="$work/$name-" "$work/corpus-$name" "$work/seeds" "$here/found" 2>&1 | tail -12
done
