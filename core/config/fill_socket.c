/* Fill, the values of which only the kernel knows whether they can be: tried on a socket of no
 * other use. Builder thread and command line tools. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/fill.h"

#define AVAILABLE "/proc/sys/net/ipv4/tcp_available_congestion_control"

/* 0, or errno. */
static int try_option(int family, int level, int option, const void *value, socklen_t length) {
    const int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (descriptor < 0) {
        return errno;
    }
    const int error = setsockopt(descriptor, level, option, value, length) != 0 ? errno : 0;
    close(descriptor);
    return error;
}

static bool is_text(const struct node *node) {
    return node->kind == NODE_SCALAR && !node_is_null(node) && node->text[0] != '\0';
}

/* The kernel's, with blanks between them; false: not known. */
static bool read_available(char *out, size_t bytes) {
    FILE *file = fopen(AVAILABLE, "re");
    const bool ok = file != NULL && fgets(out, (int)bytes, file) != NULL;

    if (file != NULL) {
        fclose(file);
    }
    out[ok ? strcspn(out, "\n") : 0] = '\0';
    return ok;
}

/* One the kernel does not know is a mistake. One that only root may use is not: who checks a file
 * need not be who runs it. */
void fill_congestion(struct fill *fill, const struct key *key, const struct node *node,
                     char *field) {
    char available[512];

    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    const size_t length = strlen(node->text);
    if (length < CONGESTION_BYTES) {
        memcpy(field, node->text, length + 1);
    }
    if (length >= CONGESTION_BYTES ||
        try_option(AF_INET, IPPROTO_TCP, TCP_CONGESTION, node->text, (socklen_t)length) == ENOENT) {
        findings_add(fill->findings, node->line, node->column,
                     "the kernel has no congestion control '%s'; write one of: %s",
                     findings_excerpt(fill->findings, node->text),
                     read_available(available, sizeof(available)) ? available
                                                                  : "those in " AVAILABLE);
    }
}

static bool read_ip(const char *text, struct address *out) {
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->length = sizeof(out->v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->length = sizeof(out->v6);
        return true;
    }
    return false;
}

void fill_source(struct fill *fill, const struct key *key, const struct node *node,
                 struct source *source) {
    const int one = 1;

    source->at = (struct position){fill->snapshot->file, node->line, node->column};
    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    if (strcmp(node->text, "client") == 0) {
        source->kind = SOURCE_CLIENT;
        if (try_option(AF_INET, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one)) == EPERM) {
            findings_add(fill->findings, node->line, node->column,
                         "'source: client' needs CAP_NET_ADMIN, which this process lacks; start "
                         "it with the capability, or write an address of this machine");
        }
        return;
    }
    source->kind = SOURCE_ADDRESS;
    if (!read_ip(node->text, &source->address)) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is no IP address; write one of this machine, without a port, as in "
                     "192.0.2.10, or client",
                     findings_excerpt(fill->findings, node->text));
    }
}
