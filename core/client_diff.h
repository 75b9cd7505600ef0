/* `alacrity script diff`: two versions of a policy, side by side. In the client's process. */
#ifndef CLIENT_DIFF_H
#define CLIENT_DIFF_H

#include "base/text.h"

/* Runs diff(1) on two texts, with their titles, and prints to standard output. 0: they are equal or
 * the difference was shown; else an exit code, told on standard error. */
int client_diff(const char *title_a, const struct text *a, const char *title_b,
                const struct text *b);

#endif
