#!/bin/sh
# Builds the load generator and the relay into build/bench.
set -eu
cd "$(dirname "$0")"
out=../../build/bench
mkdir -p "$out"
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o "$out/load" \
    main.c plan.c client.c scenario.c shards.c result.c config.c update.c histogram.c cpu.c ws.c
if [ -f relay.c ]; then ${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o "$out/relay" relay.c ws.c; fi
