/* Build: makes a configuration complete for control and every worker, off the path of traffic, and
 * proves it. A builder is one thread with a mailbox; see build.c. */
#ifndef CONTROL_BUILD_H
#define CONTROL_BUILD_H

#include "control/carry.h"
#include "control/control.h"
#include "control/versions.h"
#include "session/plan.h"

/* What comes of one build. Made on the builder, then control's until settled. */
struct build {
    struct mail mail;
    uint32_t workers_running; /* when it was asked for */
    struct carry_set carries; /* of the policies in use then */
    struct pool_past *pasts;  /* of pools of whose versions some failed */
    bool ok;
    bool gave_up_root;        /* for its snapshot's user; so it does once, at the start */
    struct messages messages; /* every mistake, when not ok */
    struct control_plan *control_plan;
    uint32_t plan_count; /* one for every worker that runs or shall run */
    struct worker_plan *plans[ARENA_WORKERS];
};

/* file, or text with a name for messages. Not copied: they live as long as the process. */
struct build_source {
    const char *file;
    const char *text;
    bool watch; /* the file and its scripts: a change reloads */
};

/* Control. NULL: errno. */
struct builder *builder_start(struct control *control, const struct build_source *source)
    __attribute__((warn_unused_result));
/* Control. Takes carries and pasts over, whatever it returns. One build at a time; the result comes
 * back through build_finished (control.c), on control. False: out of memory, nothing begun. */
bool builder_build(struct builder *builder, uint32_t workers_running, struct carry_set *carries,
                   struct pool_past *pasts) __attribute__((warn_unused_result));
/* Any thread: the mail is delivered on the builder, whose owner word is the builder itself. */
void builder_post(struct builder *builder, struct mail *mail);
/* How scripts of a host reach the builder. */
const struct script_post *builder_script_post(const struct builder *builder);
/* Builder. NULL: nothing is watched. */
struct watch *builder_watch(const struct builder *builder);
/* Control: nothing else can fail any more: gives up root if the build says so, makes its sockets
 * listen, and answers with build_opened. */
void builder_open(struct builder *builder, struct build *build);
/* Control: the build is used by everybody (published) or dropped. Frees it, and when published
 * `old`, the control plan before it, then answers with build_settled; the next build may begin only
 * after that. */
void builder_settle(struct builder *builder, struct build *build, bool published,
                    struct control_plan *old);
/* Any thread: nobody uses the plan any more. */
void builder_free_plan(struct builder *builder, struct worker_plan *plan);
/* Control, after all workers ended: frees the plan and everything the builder has. */
void builder_stop(struct builder *builder, struct control_plan *last);

/* Command line, any thread: everything a build proves except that the addresses can be bound.
 * `messages` must be empty. */
bool build_check(const struct build_source *source, struct messages *messages);

/* control.c: the builder's answers, delivered on control. */
void build_finished(struct control *control, struct build *build);
void build_opened(struct control *control, struct build *build);
void build_settled(struct control *control, bool published);
/* control.c: passes a script's mail from the builder on to its owner. */
void control_bring_back(struct control *control, struct script_mail *mail);

#endif
