/* A slot's journal tended: a timer on the engine thread has the pool make room and sync, and says
 * when a journal ends. Owns the journal and the recorder. */
#include "host/keeper.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"

enum { TEND_MS = 20 };

struct Keeper {
    Host *host;
    Slot *slot;
    Journal *journal;
    Recorder recorder;

    /* [engine] */
    uv_timer_t *timer;
    uv_work_t work;
    int busy, told;
};

static void tend(uv_work_t *work)
{
    Keeper *keeper = work->data;
    journal_tend(keeper->journal);
}

static void tended(uv_work_t *work, int status)
{
    (void)status;
    Keeper *keeper = work->data;
    keeper->busy = 0;
    const char *why = journal_ended(keeper->journal);
    if (*why && !keeper->told) {
        keeper->told = 1;
        log_warn("journal", "%s: %s ends here: %s; the module runs on", keeper->slot->name,
                 journal_path(keeper->journal), why);
    }
}

static void on_timer(uv_timer_t *timer)
{
    Keeper *keeper = timer->data;
    if (keeper->busy)
        return;
    keeper->work.data = keeper;
    keeper->busy = uv_queue_work(timer->loop, &keeper->work, tend, tended) == 0;
}

static void begin(void *user)
{
    Keeper *keeper = user;
    keeper->timer = malloc(sizeof *keeper->timer);
    if (!keeper->timer)
        return; /* the frame thread makes room itself then, and nothing is synced before the end */
    uv_timer_init(loop_uv(keeper->host->loop), keeper->timer);
    keeper->timer->data = keeper;
    uv_timer_start(keeper->timer, on_timer, TEND_MS, TEND_MS);
}

static void closed(uv_handle_t *handle)
{
    free(handle);
}

typedef struct Ending {
    Keeper *keeper;
    int busy;
} Ending;

static void end(void *user)
{
    Ending *ending = user;
    Keeper *keeper = ending->keeper;
    if (keeper->timer)
        uv_close((uv_handle_t *)keeper->timer, closed);
    keeper->timer = NULL;
    ending->busy = keeper->busy;
}

int keeper_new(Host *host, Slot *slot, const char *path, Keeper **ret, Error *err)
{
    Keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return err_set(err, KEEL_ENOMEM, "no memory for a journal");
    keeper->host = host;
    keeper->slot = slot;
    int rc = journal_create(path, NULL, &keeper->journal, err);
    if (rc == KEEL_OK)
        rc = recorder_begin(&keeper->recorder, slot, keeper->journal, 0, err);
    if (rc == KEEL_OK && loop_call(host->loop, begin, keeper))
        rc = err_set(err, KEEL_ECANCELED, "the host is closing");
    if (rc) {
        recorder_end(&keeper->recorder, slot);
        journal_close(keeper->journal);
        free(keeper);
        return rc;
    }
    *ret = keeper;
    return KEEL_OK;
}

void keeper_free(Keeper *keeper)
{
    if (!keeper)
        return;
    Ending ending = {.keeper = keeper};
    while (loop_call(keeper->host->loop, end, &ending) == KEEL_OK && ending.busy)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    recorder_end(&keeper->recorder, keeper->slot);
    journal_close(keeper->journal);
    free(keeper);
}
