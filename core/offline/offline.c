/* What the offline verbs share. See offline.h. */
#include "offline/offline.h"

#include <stdio.h>
#include <string.h>

struct snapshot *offline_snapshot(void) {
    static const char text[] = "listeners: {offline: {bind: '127.0.0.1:1', pool: offline}}\n"
                               "pools: {offline: {backends: {a: '127.0.0.1:1'}}}\n"
                               "admin: {socket: off}\n";
    struct messages messages = {0};
    struct snapshot *snapshot = snapshot_parse(text, strlen(text), "offline", &messages);
    if (snapshot == NULL) {
        fprintf(stderr, "alacrity: %s",
                messages.text.bytes != NULL ? messages.text.bytes : "out of memory\n");
    }
    messages_free(&messages);
    return snapshot;
}
