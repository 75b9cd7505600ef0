/* The configuration of `alacrity demo`: three demo backends (Lua services of our own), a listener
 * that balances over them, a health check and the stats page. Text, parsed as any other. */
#include "control/control.h"

const char demo_configuration[] =
    "# The demo. `alacrity demo --print` shows it: a starting point for a configuration of your "
    "own.\n"
    "log: {level: info, sessions: on}\n"
    "listeners:\n"
    "  web:   {bind: \"127.0.0.1:8080\", pool: app}\n"
    "  stats: {bind: \"127.0.0.1:8404\", service: stats}\n"
    "  demo-a: {bind: \"127.0.0.1:9001\", service: {name: demo, with: {name: a}}}\n"
    "  demo-b: {bind: \"127.0.0.1:9002\", service: {name: demo, with: {name: b}}}\n"
    "  demo-c: {bind: \"127.0.0.1:9003\", service: {name: demo, with: {name: c}}}\n"
    "pools:\n"
    "  app:\n"
    "    policy: round-robin\n"
    "    check: {type: http, interval: 2s, timeout: 1s, rise: 2, fall: 3}\n"
    "    backends:\n"
    "      a: 127.0.0.1:9001\n"
    "      b: {address: 127.0.0.1:9002, weight: 2}\n"
    "      c: 127.0.0.1:9003\n";
