/* Mailbox: posting order, many posters, mail that posts mail, and closing. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "suite.h"

#define POSTERS 4
#define MAILS 5000

struct letter {
    struct mail mail;
    int poster, number;
};

struct owner {
    struct ev_loop *loop;
    struct mailbox mailbox;
    int next[POSTERS], delivered, expected;
    struct mail again;
    int rounds;
};

static void on_letter(struct mail *mail, void *argument) {
    struct owner *owner = argument;
    struct letter *letter = container_of(mail, struct letter, mail);
    ck_assert_int_eq(letter->number, owner->next[letter->poster]++);
    free(letter); /* the mail is the receiver's from here on */
    if (++owner->delivered == owner->expected) {
        ev_break(owner->loop, EVBREAK_ALL);
    }
}

static void owner_open(struct owner *owner, int expected) {
    *owner = (struct owner){.expected = expected};
    owner->loop = ev_loop_new(EVFLAG_AUTO);
    ck_assert(mailbox_init(&owner->mailbox, owner->loop, owner));
}

static void post(struct owner *owner, int poster, int number) {
    struct letter *letter = calloc(1, sizeof(*letter));
    letter->mail.deliver = on_letter;
    letter->poster = poster;
    letter->number = number;
    mailbox_post(&owner->mailbox, &letter->mail);
}

struct poster {
    struct owner *owner;
    int number;
};

static void *poster_main(void *argument) {
    struct poster *poster = argument;
    for (int i = 0; i < MAILS; i++) {
        post(poster->owner, poster->number, i);
    }
    return NULL;
}

START_TEST(every_mail_arrives_once_and_each_posters_in_order) {
    struct owner owner;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    owner_open(&owner, POSTERS * MAILS);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){&owner, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
    }
    ev_run(owner.loop, 0);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(owner.next[i], MAILS);
    }
    mailbox_close(&owner.mailbox);
    ev_loop_destroy(owner.loop);
}
END_TEST

static void on_again(struct mail *mail, void *argument) {
    struct owner *owner = argument;
    if (++owner->rounds < 10) {
        mailbox_post(&owner->mailbox, mail);
    } else {
        ev_break(owner->loop, EVBREAK_ALL);
    }
}

START_TEST(a_mail_may_be_posted_again_while_it_is_delivered) {
    struct owner owner;
    owner_open(&owner, 0);
    owner.again.deliver = on_again;
    mailbox_post(&owner.mailbox, &owner.again);
    ev_run(owner.loop, 0);
    ck_assert_int_eq(owner.rounds, 10);
    mailbox_close(&owner.mailbox);
    ev_loop_destroy(owner.loop);
}
END_TEST

START_TEST(closing_delivers_what_is_left_and_lets_the_loop_end) {
    struct owner owner;
    owner_open(&owner, -1);
    for (int i = 0; i < 10; i++) {
        post(&owner, 0, i);
    }
    mailbox_close(&owner.mailbox);
    ck_assert_int_eq(owner.delivered, 10);
    ev_run(owner.loop, 0); /* returns at once: no watcher is left */
    ev_loop_destroy(owner.loop);
}
END_TEST

START_TEST(out_of_descriptors_it_says_so) {
    struct owner owner = {.loop = ev_loop_new(EVFLAG_AUTO)};
    struct rlimit before, none = {0};
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert(!mailbox_init(&owner.mailbox, owner.loop, &owner)); /* and libev does not abort */
    ck_assert_int_eq(errno, EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ev_loop_destroy(owner.loop);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("mailbox");
    TCase *mailbox = tcase_create("mailbox");
    tcase_add_test(mailbox, every_mail_arrives_once_and_each_posters_in_order);
    tcase_add_test(mailbox, a_mail_may_be_posted_again_while_it_is_delivered);
    tcase_add_test(mailbox, closing_delivers_what_is_left_and_lets_the_loop_end);
    tcase_add_test(mailbox, out_of_descriptors_it_says_so);
    tcase_set_timeout(mailbox, 30);
    suite_add_tcase(suite, mailbox);
    return run_suite(suite);
}
