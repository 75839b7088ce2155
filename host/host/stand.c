/* Standing still: pause and single frames, and the modules' clock, which stands with them. Frame
 * thread. */
#include <stdlib.h>

#include "host/host.h"

enum { STEP_NS = 16666667, STEP_LEAST_NS = 1000000, STEP_MOST_NS = 100000000 };

int host_stands(const Host *host)
{
    return atomic_load_explicit(&host->paused, memory_order_relaxed) && !host->steps;
}

/* One step is as long as a frame was, within reason. */
static int64_t step_ns(const Host *host)
{
    return host->frame_ns < STEP_LEAST_NS || host->frame_ns > STEP_MOST_NS ? STEP_NS
                                                                           : host->frame_ns;
}

int64_t host_module_time(Host *host, int64_t time_ns)
{
    if (host->stood && host->module_ns) {
        host->shift_ns = time_ns - host->module_ns - step_ns(host);
        host->stood = 0;
    }
    return time_ns - host->shift_ns;
}

static void tell_stepped(Host *host)
{
    LoopFunction *done = host->stepped;
    host->steps = 0;
    host->stepped = NULL;
    if (done)
        done(host->stepped_user);
}

void host_step(Host *host, uint32_t frames, LoopFunction *done, void *user)
{
    tell_stepped(host);
    keel_host_pause(host, 1);
    host->steps = frames;
    host->stepped = done;
    host->stepped_user = user;
    host->stood = 1;
}

void host_ran(Host *host, int64_t module_ns)
{
    if (host->module_ns)
        host->frame_ns = module_ns - host->module_ns;
    host->module_ns = module_ns;
    int paused = (int)atomic_load(&host->paused);
    if (host->stepped && (!paused || !--host->steps))
        tell_stepped(host);
    if (paused || host->replaying)
        host->stood = 1;
}
