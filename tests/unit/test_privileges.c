/* Privileges: who may be which user, what a file made as root is given to, and that nobody can have
 * another file given away. Giving away needs root: without it, those tests have nothing to say. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/owner.h"
#include "control/admin.h"
#include "control/privileges.h"
#include "suite.h"

static const struct owner other = {.user = 12345, .group = 23456};
static char folder[64], path[96], target[96];

static void open_folder(void) {
    strcpy(folder, "/tmp/test-owner-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    snprintf(target, sizeof(target), "%s/target", folder);
}

static void remove_folder(void) {
    unlink(path);
    unlink(target);
    rmdir(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void bind_socket(const char *where) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
    ck_assert_int_eq(bind(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    close(descriptor);
}

static bool is_of(const char *where, uid_t user, gid_t group) {
    struct stat status;
    ck_assert_int_eq(lstat(where, &status), 0);
    return status.st_uid == user && status.st_gid == group;
}

/* ---- files ---- */

START_TEST(what_was_made_is_given) {
    struct stat status;
    bind_socket(path);
    ck_assert(owner_give_socket(&other, path, &status));
    ck_assert(is_of(path, other.user, other.group));
    ck_assert_int_eq(mkdir(target, 0700), 0);
    ck_assert(owner_give_folder(&other, target));
    ck_assert(is_of(target, other.user, other.group));
    ck_assert_int_eq(rmdir(target), 0);
    int descriptor = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert(owner_give_file(&other, descriptor));
    close(descriptor);
    ck_assert(is_of(target, other.user, other.group));
}
END_TEST

START_TEST(without_an_owner_nothing_is_given) {
    struct stat status;
    bind_socket(path);
    ck_assert(owner_give_socket(NULL, path, &status));
    ck_assert(S_ISSOCK(status.st_mode));
    ck_assert(owner_give_folder(NULL, "/nowhere"));
    ck_assert(owner_give_file(NULL, -1));
    ck_assert(is_of(path, geteuid(), getegid()));
    ck_assert(!owner_give_socket(NULL, "/nowhere", &status));
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* Between our making and our giving, somebody may have put another file in its place. */
START_TEST(what_took_its_place_is_not_given) {
    struct stat status;
    bind_socket(target);
    ck_assert_int_eq(symlink(target, path), 0);
    ck_assert(!owner_give_socket(&other, path, &status));
    ck_assert_int_eq(errno, EEXIST);
    ck_assert(!owner_give_folder(&other, path));
    ck_assert_int_eq(unlink(path), 0);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ck_assert(!owner_give_socket(&other, path, &status));
    ck_assert_int_eq(chown(target, 1, 1), 0); /* a socket, but somebody else's */
    ck_assert(!owner_give_socket(&other, target, &status));
    ck_assert(is_of(path, 0, 0));
    ck_assert(is_of(target, 1, 1));
}
END_TEST

START_TEST(a_log_is_made_for_its_owner_and_never_through_a_link) {
    struct log_settings settings = {.target = path};
    ck_assert(log_prepare(&settings, &other));
    log_abort();
    ck_assert(is_of(path, other.user, other.group));
    ck_assert_int_eq(chown(path, 0, 0), 0); /* one that was there stays whose it is */
    ck_assert(log_prepare(&settings, &other));
    log_abort();
    ck_assert(is_of(path, 0, 0));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink(target, path), 0);
    ck_assert(!log_prepare(&settings, &other));
    ck_assert_int_eq(access(target, F_OK), -1);
    ck_assert(log_prepare(&settings, NULL)); /* our own links we follow */
    log_abort();
    ck_assert_int_eq(access(target, F_OK), 0);
}
END_TEST

START_TEST(an_admin_socket_and_its_folder_are_made_for_the_owner) {
    char where[128], error[256];
    struct control control = {.loop = ev_loop_new(EVFLAG_AUTO)};
    struct admin *admin = admin_new(&control);
    snprintf(where, sizeof(where), "%s/admin.sock", path);
    ck_assert_msg(admin_prepare(admin, where, &other, error, sizeof(error)), "%s", error);
    admin_commit(admin);
    ck_assert(is_of(where, other.user, other.group));
    ck_assert(is_of(path, other.user, other.group));
    ck_assert_int_eq(chown(path, 0, 0), 0); /* a folder that was there stays whose it is */
    snprintf(where, sizeof(where), "%s/second.sock", path);
    ck_assert_msg(admin_prepare(admin, where, &other, error, sizeof(error)), "%s", error);
    admin_commit(admin);
    ck_assert(is_of(where, other.user, other.group));
    ck_assert(is_of(path, 0, 0));
    admin_free(admin);
    ev_loop_destroy(control.loop);
}
END_TEST

/* ---- who may be whom ---- */

static struct messages messages;

static bool allows(char *user, uid_t id, bool first) {
    struct snapshot snapshot = {.file = "a.yaml",
                                .user = user,
                                .owner = {.user = id, .group = id},
                                .user_at = {"a.yaml", 3, 7}};
    messages_free(&messages);
    return privileges_allow(&snapshot, first, &messages);
}

static void told(const char *expected) {
    ck_assert_str_eq(messages.text.bytes, expected);
    messages_free(&messages);
}

static const char no_change[] =
    "a.yaml:3:7: 'user' cannot change in a reload; restart to change it\n";

START_TEST(root_may_become_anybody_but_only_at_the_start) {
    struct snapshot snapshot = {.user = "other", .owner = other};
    ck_assert(allows(NULL, 0, true));
    ck_assert(allows("root", 0, true));
    ck_assert(allows("other", 12345, true));
    ck_assert_ptr_eq(privileges_owner(&snapshot), &snapshot.owner);
    ck_assert(allows(NULL, 0, false));
    ck_assert(allows("root", 0, false));
    ck_assert(!allows("other", 12345, false));
    told(no_change);
    snapshot.owner.user = 0;
    ck_assert_ptr_null(privileges_owner(&snapshot)); /* root stays root */
    snapshot.user = NULL;
    ck_assert_ptr_null(privileges_owner(&snapshot));
}
END_TEST

START_TEST(others_may_only_be_who_they_are) {
    struct snapshot snapshot = {.user = "other", .owner = other};
    ck_assert_int_eq(setuid(1), 0);
    ck_assert(allows(NULL, 0, true));
    ck_assert(allows("daemon", 1, true));
    ck_assert(!allows("other", 12345, true));
    told("a.yaml:3:7: cannot become user 'other': only root can, and this was started with uid 1; "
         "start it as root, or leave 'user' out\n");
    ck_assert(allows("daemon", 1, false));
    ck_assert(!allows("other", 12345, false));
    told(no_change);
    ck_assert_ptr_null(privileges_owner(&snapshot));
}
END_TEST

START_TEST(who_gave_up_root_stays_who_it_is) {
    struct snapshot snapshot = {.user = "daemon", .owner = {.user = 1, .group = 1}};
    ck_assert(privileges_drop(&snapshot, &messages));
    ck_assert_int_eq(setuid(0), -1);
    ck_assert_uint_eq(getuid(), 1);
    ck_assert_uint_eq(getegid(), 1);
    ck_assert(allows("daemon", 1, false));
    ck_assert(!allows("root", 0, false));
    told(no_change);
    ck_assert(!allows(NULL, 0, false));
    told("a.yaml: 'user' cannot change in a reload; restart to change it\n");
    ck_assert_ptr_null(privileges_owner(&snapshot));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("privileges");
    TCase *files = tcase_create("files"), *users = tcase_create("users");
    tcase_add_checked_fixture(files, open_folder, remove_folder);
    tcase_add_test(files, without_an_owner_nothing_is_given);
    if (geteuid() == 0) {
        tcase_add_test(files, what_was_made_is_given);
        tcase_add_test(files, what_took_its_place_is_not_given);
        tcase_add_test(files, a_log_is_made_for_its_owner_and_never_through_a_link);
        tcase_add_test(files, an_admin_socket_and_its_folder_are_made_for_the_owner);
        tcase_add_test(users, others_may_only_be_who_they_are);
        tcase_add_test(users, root_may_become_anybody_but_only_at_the_start);
        tcase_add_test(users, who_gave_up_root_stays_who_it_is);
    }
    suite_add_tcase(suite, files);
    suite_add_tcase(suite, users);
    return run_suite(suite);
}
