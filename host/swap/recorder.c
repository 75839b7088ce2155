/* A slot's journal as its frames go by. Owns the buffer of one frame's events. Frame thread; no
 * system calls. */
#include "swap/recorder.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "swap/brought.h"

int recorder_begin(Recorder *recorder, Slot *slot, Journal *journal, Error *err)
{
    *recorder = (Recorder){.journal = journal};
    StateStatus status;
    state_status(slot->state, &status);
    JournalBegin begin = {.arena_base = status.base,
                          .arena_bytes = status.max_bytes,
                          .wall_ns = clock_wall_ns(),
                          .after_frames = slot->frames,
                          .abi = KEEL_ABI,
                          .brought = slot->brought || slot->frames};
    if (slot->brought)
        begin.after_frames = slot->brought->keepsake.head.frames;
    snprintf(begin.slot, sizeof begin.slot, "%s", slot->name);
    snprintf(begin.host, sizeof begin.host, "%s", KEEL_VERSION);
    const JournalPart part = {&begin, sizeof begin};
    if (journal_append(journal, JOURNAL_BEGIN, &part, 1))
        return err_set(err, KEEL_ENOSPACE, "cannot begin the journal: %s", journal_ended(journal));
    state_hash_frames(slot->state, 1, NULL); /* without a checkpoint there are none */
    slot->recorder = recorder;
    return KEEL_OK;
}

void recorder_end(Recorder *recorder, Slot *slot)
{
    if (slot->recorder == recorder)
        slot->recorder = NULL;
    buf_done(&recorder->events);
    recorder->journal = NULL;
}

void recorder_entered(Slot *slot, JournalHow how)
{
    slot->entered = (SlotEntered){
        .how = (uint32_t)how, .now_ns = slot->effects.now_ns, .wall_ns = slot->wall_ns};
    memcpy(slot->entered.random, slot->random, sizeof slot->entered.random);
}

static void generation(Recorder *recorder, Slot *slot)
{
    Generation *running = slot->running;
    Image *image = running->image;
    const SlotEntered *entered = &slot->entered;
    JournalGeneration record = {.number = running->number,
                                .image_low = image->hash.low,
                                .image_high = image->hash.high,
                                .image_bytes = image->bytes,
                                .now_ns = entered->now_ns,
                                .wall_ns = entered->wall_ns,
                                .how = entered->how};
    memcpy(record.random, entered->random, sizeof record.random);
    snprintf(record.name, sizeof record.name, "%s", image->name);
    snprintf(record.version, sizeof record.version, "%s", image->version);
    snprintf(record.build_id, sizeof record.build_id, "%s", image->build_id);
    snprintf(record.path, sizeof record.path, "%s", image->path);
    const JournalPart part = {&record, sizeof record};
    journal_append(recorder->journal, JOURNAL_GENERATION, &part, 1);
    journal_keep_image(recorder->journal, image);
    recorder->generation = running->number;
}

static int add_event(Buf *events, const struct keel_event *e)
{
    static const uint8_t zeros[8];
    const JournalEvent plain = {.seq = e->seq,
                                .tag = e->tag,
                                .handle = e->handle,
                                .time_ns = e->time_ns,
                                .data_bytes = e->data_bytes,
                                .kind = e->kind,
                                .flags = e->flags,
                                .result = e->result};
    size_t bytes = (size_t)e->data_bytes;
    return buf_add(events, &plain, sizeof plain) || (bytes && buf_add(events, e->data, bytes)) ||
           buf_add(events, zeros, (8 - bytes % 8) % 8);
}

int recorder_encode(const Slot *slot, Buf *events, uint32_t *ret_count)
{
    events->bytes = 0;
    *ret_count = 0;
    for (const Input *input = slot->inputs.taken; input; input = input->next) {
        if (add_event(events, &input->event))
            return KEEL_ENOMEM;
        ++*ret_count;
    }
    return KEEL_OK;
}

void recorder_gather(Recorder *recorder, const Slot *slot)
{
    if (slot->running->number != recorder->generation) /* before this frame's pages are hashed */
        state_hash_image(slot->state, slot->running->load_first, slot->running->load_last);
    if (recorder_encode(slot, &recorder->events, &recorder->event_count))
        recorder_break(recorder, "no memory for a frame's events");
}

JournalFrame recorder_describe(const Slot *slot, uint32_t events)
{
    const struct keel_frame *f = &slot->frame;
    JournalFrame frame = {.index = f->index,
                          .time_ns = f->time_ns,
                          .wall_ns = slot->wall_ns,
                          .dt = f->dt,
                          .flags = f->flags,
                          .events = events};
    StateHashes hashes;
    if (state_hashes(slot->state, &hashes) == KEEL_OK) {
        frame.hash_exact = hashes.exact;
        frame.hash_loose = hashes.loose;
    }
    return frame;
}

void recorder_frame(Recorder *recorder, Slot *slot)
{
    if (slot->running->number != recorder->generation)
        generation(recorder, slot);
    const JournalFrame frame = recorder_describe(slot, recorder->event_count);
    const JournalPart parts[] = {{&frame, sizeof frame},
                                 {recorder->events.data, recorder->events.bytes}};
    journal_append(recorder->journal, JOURNAL_FRAME, parts, 2);
    recorder->frames++;
}

void recorder_break(Recorder *recorder, const char *why)
{
    if (!recorder || !recorder->journal)
        return;
    const JournalPart part = {why, strlen(why)};
    journal_append(recorder->journal, JOURNAL_BREAK, &part, 1);
}
