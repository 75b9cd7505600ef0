/* Privileges: giving up root. Runs on the builder thread, which alone binds listening sockets.
 *
 * 1. The first configuration is complete: sockets are bound, admin socket and log are open, what
 *    was made for that is given to the user (base/owner.h). No connection was accepted yet.
 * 2. initgroups, setresgid, setresuid: glibc carries each to all threads. The kernel takes all
 *    capabilities from a thread that leaves uid 0, unless it has asked to keep them, which is a
 *    thread's own affair: only the builder asks.
 * 3. The builder puts down all but CAP_NET_BIND_SERVICE, so that a reload can add port 80.
 * 4. No memory dumps and no tracing by other processes of that user, who could otherwise read what
 *    was opened as root, or make the builder bind for them.
 *
 * That no program it starts could gain anything is said before there are threads (main.c). */
#include "control/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool dropped; /* builder's */

const struct owner *privileges_owner(const struct snapshot *snapshot) {
    return snapshot->user != NULL && geteuid() == 0 && snapshot->owner.user != 0 ? &snapshot->owner
                                                                                 : NULL;
}

static struct position position_of(const struct snapshot *snapshot) {
    return snapshot->user != NULL ? snapshot->user_at : (struct position){.file = snapshot->file};
}

bool privileges_allow(const struct snapshot *snapshot, bool first, struct messages *messages) {
    if (snapshot->user == NULL ? !dropped : snapshot->owner.user == geteuid()) {
        return true; /* it is that user already */
    }
    if (!first) {
        messages_add(messages, position_of(snapshot),
                     "'user' cannot change in a reload; restart to change it");
        return false;
    }
    if (geteuid() != 0) {
        messages_add(messages, position_of(snapshot),
                     "cannot become user '%s': only root can, and this was started with uid %u; "
                     "start it as root, or leave 'user' out",
                     snapshot->user, (unsigned)geteuid());
        return false;
    }
    return true;
}

/* The calling thread keeps CAP_NET_BIND_SERVICE, if it has it, and nothing else. False: errno. */
static bool keep_binding_only(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) != 0) {
        return false;
    }
    uint32_t kept = data[0].permitted & CAP_TO_MASK(CAP_NET_BIND_SERVICE);
    memset(data, 0, sizeof(data));
    data[0].permitted = data[0].effective = kept;
    return syscall(SYS_capset, &header, data) == 0;
}

bool privileges_drop(const struct snapshot *snapshot, struct messages *messages) {
    const struct owner *owner = &snapshot->owner;
    /* With these, which all threads have from the one who started us, nobody would lose any. */
    int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
    if (bits < 0 || (bits & (SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP)) != 0) {
        messages_add(messages, position_of(snapshot),
                     "cannot give up root: it was started with securebits that keep capabilities; "
                     "start it without them");
        return false;
    }
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || initgroups(snapshot->user, owner->group) != 0 ||
        setresgid(owner->group, owner->group, owner->group) != 0 ||
        setresuid(owner->user, owner->user, owner->user) != 0 || !keep_binding_only() ||
        prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        messages_add(messages, position_of(snapshot), "cannot become user '%s': %s", snapshot->user,
                     strerror(errno));
        return false;
    }
    dropped = true;
    return true;
}
