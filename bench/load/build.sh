#!/bin/sh
# Builds the load generator and the relay into build/bench, or into the folder given.
set -eu
cd "$(dirname "$0")"
out=${1:-../../build/bench}
mkdir -p "$out"
compile() { ${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -o "$@"; }
# Under another name first: who runs one of them meanwhile keeps what he has.
compile "$out/load.new" main.c plan.c client.c scenario.c shards.c result.c config.c update.c histogram.c cpu.c ws.c
compile "$out/relay.new" relay.c ws.c
mv "$out/load.new" "$out/load"
mv "$out/relay.new" "$out/relay"
