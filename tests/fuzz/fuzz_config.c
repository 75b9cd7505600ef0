/* Fuzz target (libFuzzer): any bytes as a configuration. It is either good or refused with at least
 * one message; it never reads beyond the bytes, never hangs, never leaks.
 *
 * clang -fsanitize=fuzzer,address,undefined ... tests/fuzz/fuzz_config.c core/config/X.c
 * core/base/X.c Seeds: examples/ and tests/cases/bad/. */
#include <stdint.h>
#include <stdlib.h>

#include "config/schema.h"
#include "config/snapshot.h"

static const char *const *stock_names(const char *folder) {
    static const char *const names[] = {"round-robin", "least-conn", "tcp", "http", "stats", NULL};

    (void)folder;
    return names;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct messages messages = {0};

    config_stock_names = stock_names;
    struct snapshot *snapshot =
        snapshot_parse((const char *)data, size, "examples/fuzz.yaml", &messages);
    if ((snapshot == NULL) != (messages.count > 0)) {
        abort();
    }
    snapshot_release(snapshot);
    messages_free(&messages);
    return 0;
}
