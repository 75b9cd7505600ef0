/* Owner: whom files are given to that are made while the process is still root: the user it is
 * going to be, who shall be able to open, replace and remove them. NULL, wherever an owner is asked
 * for: files stay with who made them. Control and builder. */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

struct owner {
    uid_t user;
    gid_t group;
};

/* Each gives what we have just made. False: errno. */
bool owner_give_file(const struct owner *owner, int descriptor) __attribute__((warn_unused_result));
bool owner_give_folder(const struct owner *owner, const char *path)
    __attribute__((warn_unused_result));
/* `status`: of the socket file. */
bool owner_give_socket(const struct owner *owner, const char *path, struct stat *status)
    __attribute__((warn_unused_result));

#endif
