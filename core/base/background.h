/* Background: a thread whose work can wait lets those whose work cannot go first. */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

/* The calling thread, for good: a worker that becomes ready to run takes the processor from it at
 * once, not when its slice ends, some 3 ms later. It is not starved: beside threads that never rest
 * it still has about a tenth of the time. What the kernel refuses is logged, and changes nothing.
 * Threads it starts would inherit this. */
void background_enter(void);

#endif
