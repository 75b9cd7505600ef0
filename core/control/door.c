/* The door of the admin socket: making, finding and removing its file. Control thread; see door.h.
 */
#include "control/door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

bool door_is_there(const struct door *door) {
    struct stat status;
    return lstat(door->path, &status) == 0 && S_ISSOCK(status.st_mode) &&
           status.st_dev == door->device && status.st_ino == door->inode;
}

void door_close(struct door *door) {
    if (door->descriptor >= 0) {
        if (door_is_there(door)) { /* else somebody has put another there */
            (void)unlink(door->path);
        }
        close(door->descriptor);
    }
    *door = (struct door){.descriptor = -1};
}

/* Makes sure that nothing is in the way at the address; removes what a process left that is no
 * more. False: error. */
static bool clear_way(const struct sockaddr_un *address, char *error, size_t error_bytes) {
    struct stat status;
    if (lstat(address->sun_path, &status) != 0) {
        return true; /* nothing there, or bind will say what is wrong */
    }
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(error, error_bytes, "%s exists and is not a socket", address->sun_path);
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        snprintf(error, error_bytes, "%s: %s", address->sun_path, strerror(errno));
        return false;
    }
    int result = connect(probe, (const struct sockaddr *)address, sizeof(*address));
    int reason = errno;
    close(probe);
    if (result == 0 || reason == EAGAIN) {
        snprintf(error, error_bytes, "%s is in use by a running process", address->sun_path);
        return false;
    }
    if (reason != ECONNREFUSED) {
        snprintf(error, error_bytes, "%s: %s", address->sun_path, strerror(reason));
        return false;
    }
    (void)unlink(address->sun_path); /* bind tells if it is still there */
    return true;
}

/* False: the path names no folder that could be missing. */
static bool folder_of(const char *path, char folder[DOOR_PATH_BYTES]) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return false;
    }
    snprintf(folder, DOOR_PATH_BYTES, "%.*s", (int)(slash - path), path);
    return true;
}

/* /run is emptied when the machine starts: the last folder may be missing. False: errno. */
static bool make_folder(struct door *door, const struct owner *owner) {
    char folder[DOOR_PATH_BYTES];
    door->made_folder = folder_of(door->path, folder) && mkdir(folder, 0755) == 0;
    /* Not made: it is there, or bind tells that it is missing. */
    return !door->made_folder || owner_give_folder(owner, folder);
}

void door_undo(struct door *door) {
    char folder[DOOR_PATH_BYTES];
    bool remove_folder = door->made_folder && folder_of(door->path, folder);
    door_close(door);
    if (remove_folder) {
        (void)rmdir(folder); /* unless somebody has put something there */
    }
}

/* A descriptor that listens at door->path. -1: error. */
static int open_at(struct door *door, const struct owner *owner, char *error, size_t error_bytes) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    strcpy(address.sun_path, door->path);
    if (!clear_way(&address, error, error_bytes)) {
        return -1;
    }
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* The kernel gives the file the mode of the socket's own inode, so it is ours alone from the
     * first moment; a umask would be the whole process's. */
    if (descriptor < 0 || fchmod(descriptor, 0600) != 0 ||
        bind(descriptor, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        snprintf(error, error_bytes, "%s: %s", door->path, strerror(errno));
        if (descriptor >= 0) {
            close(descriptor);
        }
        return -1;
    }
    if (!owner_give_socket(owner, door->path, &status) || listen(descriptor, BACKLOG) != 0) {
        snprintf(error, error_bytes, "%s: %s", door->path, strerror(errno));
        (void)unlink(door->path);
        close(descriptor);
        return -1;
    }
    door->device = status.st_dev;
    door->inode = status.st_ino;
    return descriptor;
}

bool door_open(struct door *door, const char *path, const struct owner *owner, char *error,
               size_t error_bytes) {
    *door = (struct door){.descriptor = -1};
    if (strlen(path) == 0 || strlen(path) >= sizeof(door->path)) {
        snprintf(error, error_bytes, "a socket's path has 1 to %zu bytes, not %zu",
                 sizeof(door->path) - 1, strlen(path));
        return false;
    }
    strcpy(door->path, path);
    if (!make_folder(door, owner)) {
        snprintf(error, error_bytes, "the folder of %s: %s", path, strerror(errno));
    } else {
        door->descriptor = open_at(door, owner, error, error_bytes);
    }
    if (door->descriptor < 0) {
        door_undo(door);
        return false;
    }
    return true;
}
