/* Load generator of the benchmark.
 *
 *   loadgen PORT short COUNT AT_ONCE       short connections: connect, 32 B up, 64 B down, close
 *   loadgen PORT latency COUNT RATE        the same, RATE a second whether answers come or not
 *   loadgen PORT pingpong COUNT AT_ONCE    COUNT round trips, spread over AT_ONCE connections
 *   loadgen PORT idle COUNT AT_ONCE        opens COUNT, prints "holding", waits for the end of
 *                                          standard input, sees that they still work
 *   loadgen PORT down|up BYTES CONNECTIONS one stream on each
 *
 * Every byte is compared. Prints one line of JSON; the first error ends it with exit code 1. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "load.h"
#include "wire.h"

static struct sockaddr_in target = {.sin_family = AF_INET};
static int set;

int load_set(void) {
    return set;
}

double load_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void load_fail(uint64_t number, const char *what) {
    fprintf(stderr, "loadgen: connection %llu: %s%s%s\n", (unsigned long long)number, what,
            errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
    exit(1);
}

int load_connect(uint32_t events, void *data) {
    int made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (made < 0 ||
        (connect(made, (struct sockaddr *)&target, sizeof(target)) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(set, EPOLL_CTL_ADD, made, &event) != 0) {
        perror("loadgen: connect");
        exit(1);
    }
    return made;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "loadgen PORT MODE COUNT AT_ONCE; see the head of loadgen.c\n");
        return 2;
    }
    const char *mode = argv[2];
    uint64_t count = strtoull(argv[3], NULL, 10), more = strtoull(argv[4], NULL, 10);
    target.sin_port = htons((uint16_t)atoi(argv[1]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0 || count == 0 || more == 0) {
        fprintf(stderr, "loadgen: cannot start\n");
        return 2;
    }
    wire_start();
    if (strcmp(mode, "short") == 0) {
        load_exchange(&(struct exchange_plan){.connections = count, .at_once = more});
    } else if (strcmp(mode, "latency") == 0) {
        load_exchange(&(struct exchange_plan){
            .connections = count, .at_once = count < 4096 ? count : 4096, .rate = (double)more});
    } else if (strcmp(mode, "pingpong") == 0) {
        load_exchange(&(struct exchange_plan){
            .connections = more, .at_once = more, .exchanges = (count + more - 1) / more});
    } else if (strcmp(mode, "idle") == 0) {
        load_exchange(&(struct exchange_plan){
            .connections = count, .at_once = more, .exchanges = 2, .hold = 1});
    } else if (strcmp(mode, "down") == 0 || strcmp(mode, "up") == 0) {
        load_bulk(count, more, mode[0] == 'u');
    } else {
        fprintf(stderr, "loadgen: there is no mode %s\n", mode);
        return 2;
    }
    return 0;
}
