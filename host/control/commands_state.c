/* The commands that look at a slot's state and set it. Engine thread; what needs the slot is done
 * at its boundary. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "control/commands.h"
#include "control/message.h"
#include "host/snapshots.h"
#include "swap/past.h"
#include "swap/recorder.h"

enum { SET_MOST = 4096 }; /* bytes in one request */

/* ---- snapshot ---- */

static void snapshot_over(const Error *err, const SnapshotInfo *info, void *user)
{
    Request *request = user;
    if (err->code)
        request_fail(request, err->code, "%s", err->text);
    else
        request_reply(request,
                      json_pack("{s:o, s:I, s:I}", "slot", message_text(info->slot), "frames",
                                (json_int_t)info->frames, "bytes", (json_int_t)info->used_bytes));
}

void control_snapshot(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const char *file = json_string_value(json_object_get(args, "file"));
    if (!file || file[0] != '/') {
        request_fail(request, KEEL_EINVAL, "snapshot takes file, an absolute path");
        return;
    }
    Slot *slot = control_named(host, request, json_string_value(json_object_get(args, "slot")));
    if (slot)
        host_snapshot(host, slot, file, NULL, snapshot_over, request);
}

/* ---- set ---- */

typedef struct Setting {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    Slot *slot;
    uint64_t address, bytes;
    uint8_t was[SET_MOST], is[SET_MOST];
    Error err;
} Setting;

static void set_over(void *user)
{
    Setting *setting = user;
    if (setting->err.code)
        request_fail(setting->request, setting->err.code, "%s", setting->err.text);
    else
        request_reply(setting->request, json_object());
    free(setting);
}

/* [frame] */
static void set_at_boundary(void *user)
{
    Setting *setting = user;
    Slot *slot = setting->slot;
    Error *err = &setting->err;
    if (!slot->running || slot->probation.first)
        err_set(err, KEEL_EBUSY, "%s: %s", slot->name,
                slot->running ? "a swap is under way" : "nothing runs");
    else {
        slot_note(slot); /* statics are kept for a kill with a boundary that has its note only */
        if (state_exchange(slot->state, setting->address, setting->was, setting->is, setting->bytes,
                           err) == KEEL_OK) {
            recorder_break(slot->recorder, "somebody set a value in the state");
            if (slot->past)
                past_forget(slot->past, "somebody set a value in the state");
        }
    }
    if (loop_send(setting->host->loop, &setting->errand.back, set_over, setting))
        free(setting);
}

/* Returns the number of bytes, 0 when it is not hexadecimal or too much. */
static size_t unhex(const char *text, uint8_t *to)
{
    size_t bytes = text ? strlen(text) / 2 : 0;
    return bytes <= SET_MOST && text && strlen(text) % 2 == 0 && !hex_parse(text, bytes, to) ? bytes
                                                                                             : 0;
}

void control_set(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const char *address = json_string_value(json_object_get(args, "address"));
    Setting *setting = calloc(1, sizeof *setting);
    if (!setting) {
        request_fail(request, KEEL_ENOMEM, "no memory to set a value");
        return;
    }
    size_t was = unhex(json_string_value(json_object_get(args, "was")), setting->was);
    size_t is = unhex(json_string_value(json_object_get(args, "is")), setting->is);
    setting->slot = NULL;
    if (!address || !was || was != is)
        request_fail(request, KEEL_EINVAL,
                     "state-set takes address, was and is: hexadecimal, was and is of one size");
    else
        setting->slot =
            control_named(host, request, json_string_value(json_object_get(args, "slot")));
    if (!setting->slot) {
        free(setting);
        return;
    }
    setting->host = host;
    setting->request = request;
    setting->address = strtoull(address, NULL, 16);
    setting->bytes = was;
    boundary_send(&host->boundary, &setting->errand.there, set_at_boundary, setting);
}
