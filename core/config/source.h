/* Source: the text of one script of the user's, and of the files it requires, as they were read
 * first. Whatever is made of a script later (a state for another worker, a state in place of one
 * that was lost, the version before) is made from the same text, whatever the disk says by then.
 *
 * References are counted and may be taken and given by any thread; reading is the builder's (or a
 * command line tool's) alone. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCE_BYTES_MAX (4u << 20) /* nobody writes more: it is the wrong file */

/* A file that the script requires. */
struct source_module {
    struct source_module *next;
    char *path;
    size_t length;
    char text[];
};

struct script_source {
    _Atomic uint32_t references;
    char *path;
    char *text;
    size_t length;
    struct source_module *modules; /* builder */
    bool sealed;                   /* builder: published; nothing is added any more */
};

/* Thread of its own: told of every file right before it is tried, found or not. */
struct source_witness {
    void (*tried)(struct source_witness *witness, const char *path);
};
extern _Thread_local struct source_witness *source_witness; /* NULL: nobody wants to know */

/* Builder. Reads the file: text, not bytecode. NULL: errno, for source_error. One reference. */
struct script_source *source_load(const char *path) __attribute__((warn_unused_result));
/* What to tell of such an errno. */
const char *source_error(int error);
/* Builder. The module at that path, read at most once. NULL: errno; ENOENT when it is sealed and
 * was not read before: control may be comparing. */
const struct source_module *source_module(struct script_source *source, const char *path)
    __attribute__((warn_unused_result));

struct script_source *source_hold(struct script_source *source);
void source_release(struct script_source *source); /* NULL is fine */
/* Builder. Same path and texts? */
bool source_equal(const struct script_source *a, const struct script_source *b);
/* The same, but the paths of the two scripts may differ. */
bool source_same_text(const struct script_source *a, const struct script_source *b);
/* Builder. Has the script, `now` just read, the text of `before`, and do the files that `before`
 * requires stand on the disk as they were read then? */
bool source_unchanged(const struct script_source *before, const struct script_source *now);

#endif
