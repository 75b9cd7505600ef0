/* Rebuild: what happens to a state whose script had to be stopped. Its owner hands it to the
 * builder, which gives the state back, makes a new one from the same sources, and says when it
 * is done. Until then, whoever asks the script gets no answer and uses its fallback. A script that
 * is stopped again and again is taken out: the breaker. */
#ifndef LUA_REBUILD_H
#define LUA_REBUILD_H

#include "lua/vm.h"

struct rebuild;

/* Owner, at once after GUARD_STOPPED: counts, logs, ends what else ran in the state, and has it
 * rebuilt, or takes the script out. */
void rebuild_begin(struct script *script, const char *hook, bool picking);

/* Owner: the host is given up; what the builder still answers finds nobody. */
void rebuild_retire(struct script_host *host);

/* Builder, from vm_free. */
void rebuild_free(struct vm *vm);

#endif
