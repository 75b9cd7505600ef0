/* Background: see background.h. Runs on the thread that calls it.
 *
 * Which of the two words works depends on the kernel's scheduler. Before Linux 6.6 a waking thread
 * takes over as soon as the running one's weighted time is far enough ahead, which the nice value
 * brings about. Since then the running one keeps the processor until its slice ends, unless the
 * waking one asked for shorter slices (sched_setattr(2), sched_runtime, since Linux 6.12).
 */
#include "base/background.h"

#include <errno.h>
#include <linux/sched/types.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#define NICER 10                            /* a tenth of the weight it had */
#define SLICE_NS ((uint64_t)100 * 1000000U) /* the longest the kernel takes */

void background_enter(void) {
    /* Of this thread, on Linux; beyond 19 the kernel takes 19. */
    int nice = getpriority(PRIO_PROCESS, 0) + NICER;
    /* Policy 0 is SCHED_OTHER. Kernels that know no slices pass that over. */
    struct sched_attr wish = {.size = sizeof(wish), .sched_nice = nice, .sched_runtime = SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &wish, 0) != 0 && setpriority(PRIO_PROCESS, 0, nice) != 0) {
        log_message(LOG_WARNING, "background", "this thread keeps its priority: %s",
                    strerror(errno));
    }
}
