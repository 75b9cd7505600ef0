/* Door: a listening unix socket, and the file it is reached by. Control thread. */
#ifndef CONTROL_DOOR_H
#define CONTROL_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/owner.h"

#define DOOR_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)

struct door {
    int descriptor; /* -1: closed */
    char path[DOOR_PATH_BYTES];
    dev_t device;
    ino_t inode;
    bool made_folder; /* the one it stands in was missing */
};

/* Mode 0600 from the first moment; file and folder, if it had to be made, are the owner's. What a
 * dead process left is replaced. False: error, and the door is closed. */
bool door_open(struct door *door, const char *path, const struct owner *owner, char *error,
               size_t error_bytes) __attribute__((warn_unused_result));
/* Is the file still this door's? */
bool door_is_there(const struct door *door);
/* Removes the file, unless somebody has put another there. A closed door is fine. */
void door_close(struct door *door);
/* The same, and leaves no trace of a door nobody went through. */
void door_undo(struct door *door);

#endif
