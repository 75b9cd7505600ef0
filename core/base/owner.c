/* Giving files away as root without being fooled; see owner.h. A path may lie in a folder of the
 * very user we give to, who could put a link to somebody else's file there in between: so it is
 * opened once, without following links, looked at, and that same file is given. */
#include "base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool owner_give_file(const struct owner *owner, int descriptor) {
    return owner == NULL || fchown(descriptor, owner->user, owner->group) == 0;
}

static bool give_open(const struct owner *owner, int descriptor, mode_t type, struct stat *status) {
    if (fstat(descriptor, status) != 0) {
        return false;
    }
    if ((status->st_mode & S_IFMT) != type || status->st_uid != geteuid()) {
        errno = EEXIST; /* it is not what we made */
        return false;
    }
    return fchownat(descriptor, "", owner->user, owner->group, AT_EMPTY_PATH) == 0;
}

static bool give_path(const struct owner *owner, const char *path, mode_t type,
                      struct stat *status) {
    int descriptor = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    bool given = give_open(owner, descriptor, type, status);
    int error = errno;
    close(descriptor);
    errno = error;
    return given;
}

bool owner_give_folder(const struct owner *owner, const char *path) {
    struct stat status;
    return owner == NULL || give_path(owner, path, S_IFDIR, &status);
}

bool owner_give_socket(const struct owner *owner, const char *path, struct stat *status) {
    return owner == NULL ? lstat(path, status) == 0 : give_path(owner, path, S_IFSOCK, status);
}
