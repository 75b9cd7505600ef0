/* Scripts: the versions of every pool's policy: swapping one in while traffic runs, trying it as a
 * shadow, promoting it, going back, by command or by itself. Control thread, but for the building
 * of a version, which is the builder's. */
#ifndef CONTROL_SCRIPTS_H
#define CONTROL_SCRIPTS_H

#include "control/control.h"
#include "control/versions.h"

struct request;
struct scripts;

#define WISH_OPTIONS 24

enum script_action { SCRIPT_SWAP, SCRIPT_SHADOW, SCRIPT_PROMOTE, SCRIPT_ROLLBACK, SCRIPT_DROP };

/* What somebody wants done to one pool's policy. */
struct script_wish {
    enum script_action action;
    char pool[ALACRITY_NAME_BYTES];
    char *file; /* swap, shadow: an absolute path, or the name of a stock policy; owned */
    /* Swap, shadow: KEY=VALUE, owned. None: those configured, if the script has the same name. */
    char *options[WISH_OPTIONS];
    uint32_t option_count;
    bool again;       /* swap: of the current version, with its options */
    uint32_t sample;  /* shadow: asked for one session of so many */
    bool force;       /* promote: however it did as a shadow */
    char version[16]; /* rollback: its number; empty: the one before */
    bool automatic;   /* rollback: by scripts.c itself, which says why */
};
/* What the request, one of those that change a pool's policy, asks for. NULL: error. */
struct script_wish *script_wish_read(const struct request *request, const char **error)
    __attribute__((warn_unused_result));
void script_wish_free(struct script_wish *wish);

struct scripts *scripts_new(struct control *control) __attribute__((warn_unused_result));
void scripts_free(struct scripts *scripts);
/* The plan is current in place of another: what the configuration says is each pool's current
 * version. Shadows are gone. */
void scripts_switch(struct scripts *scripts, const struct control_plan *plan);
/* For a build: of the pools of whose versions some failed. False: out of memory. */
bool scripts_past(const struct scripts *scripts, struct pool_past **pasts)
    __attribute__((warn_unused_result));
/* Logs, and appends to what is answered, a line each, which pools of a plan that was published do
 * not follow the configuration, as what it names has failed. */
void scripts_tell_what_stays(const struct control_plan *plan, struct text *out);
/* NULL: no such pool, or no scripts. */
const struct pool_scripts *scripts_of(const struct scripts *scripts, const char *pool);

/* Wishes for every pool whose current policy was not configured and is made of the file: that it be
 * swapped in again. `awaited` is raised by how many times `done` will be called. */
void scripts_swap_again(struct scripts *scripts, const char *file, uint32_t *awaited,
                        reload_done *done, void *argument);

/* Begins the job, which ends with conductor_job_done. Takes the wish over. One at a time, and no
 * build meanwhile. */
void scripts_begin(struct scripts *scripts, struct script_wish *wish);

/* control.c: queues the wish (taken over) behind what was asked for before. */
void control_script(struct control *control, struct script_wish *wish, reload_done *done,
                    void *argument);

#endif
