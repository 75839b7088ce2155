/* What a batch is made of: instances, commands and gradients, and the arrays that they lie in. Owns
 * those arrays; knows no list. One thread. */
#include "screen/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "screen/batch_parts.h"

enum { PATIENCE = 20 * 1000 * 1000, GRADIENTS_MOST = 65536, COMMANDS_MOST = 262144 };

void batch_init(Batch *batch, Glyphs *glyphs)
{
    memset(batch, 0, sizeof *batch);
    batch->glyphs = glyphs;
}

void batch_done(Batch *batch)
{
    free(batch->instances);
    free(batch->commands);
    free(batch->gradients);
    free(batch->work.points);
    free(batch->work.normals);
    free(batch->work.links);
    memset(batch, 0, sizeof *batch);
}

void batch_begin(Batch *batch, uint32_t width, uint32_t height, float scale, uint32_t background)
{
    batch->background = background;
    batch->count = 0;
    batch->command_count = 0;
    batch->gradient_count = 0;
    batch->refused = 0;
    batch->width = width;
    batch->height = height;
    batch->scale = scale;
    batch->work.patience = PATIENCE;
}

/* Doubles an array of `*room` things up to `most`. 0: it stays as it is. */
static int more(void **array, uint32_t *room, uint32_t most, size_t bytes)
{
    uint32_t wanted = *room ? *room * 2 : 256;
    void *bigger = wanted > most ? NULL : realloc(*array, wanted * bytes);
    if (!bigger)
        return 0;
    *array = bigger;
    *room = wanted;
    return 1;
}

/* A command like the last one, which stays as it is. */
static BatchCommand *divide(Batch *batch)
{
    void *commands = batch->commands;
    if (batch->command_count == batch->command_room) {
        if (!more(&commands, &batch->command_room, COMMANDS_MOST, sizeof *batch->commands)) {
            batch->refused++;
            return NULL;
        }
        batch->commands = commands;
    }
    BatchCommand *command = &batch->commands[batch->command_count++];
    *command = command[-1];
    command->first = batch->count;
    command->count = command->kinds = 0;
    return command;
}

Instance *batch_instance(Batch *batch, uint32_t kind, uint32_t paint)
{
    void *instances = batch->instances;
    if (batch->count == batch->room) {
        if (!more(&instances, &batch->room, BATCH_INSTANCES_MOST, sizeof *batch->instances)) {
            batch->refused++;
            return NULL;
        }
        batch->instances = instances;
    }
    uint32_t kinds = 1u << (kind & 0xff) | (kind & INSTANCE_GRADIENT);
    BatchCommand *command = &batch->commands[batch->command_count - 1];
    if (batch->split && command->count && command->kinds != kinds && !(command = divide(batch)))
        return NULL;
    Instance *instance = &batch->instances[batch->count++];
    memset(instance, 0, sizeof *instance);
    instance->kind = kind;
    instance->paint = paint;
    command->kinds |= kinds;
    command->count++;
    return instance;
}

int batch_command(Batch *batch, const BatchState *state, const Picture *image, uint32_t nearest)
{
    void *commands = batch->commands;
    if (batch->command_count && !batch->commands[batch->command_count - 1].count)
        batch->command_count--;
    if (batch->command_count == batch->command_room) {
        if (!more(&commands, &batch->command_room, COMMANDS_MOST, sizeof *batch->commands))
            return 0;
        batch->commands = commands;
    }
    BatchCommand *command = &batch->commands[batch->command_count++];
    *command = (BatchCommand){.first = batch->count,
                              .blend = state->blend,
                              .nearest = nearest,
                              .image = image,
                              .left = state->left,
                              .top = state->top,
                              .right = state->right,
                              .bottom = state->bottom,
                              .clip_count = state->clip_count};
    memcpy(command->clips, state->clips, state->clip_count * sizeof *state->clips);
    return 1;
}

static uint32_t gradient_of(BatchList *list, keel_paint paint)
{
    Batch *batch = list->batch;
    const BatchState *state = &list->state;
    uint32_t index = (uint32_t)(paint >> 32) - 1;
    if (list->last_gradient == index + 1 && list->last_gradient_transform == list->transforms)
        return batch->gradient_count - 1;
    void *gradients = batch->gradients;
    if (batch->gradient_count == batch->gradient_room) {
        if (!more(&gradients, &batch->gradient_room, GRADIENTS_MOST, sizeof *batch->gradients))
            return UINT32_MAX;
        batch->gradients = gradients;
    }
    const DrawGradient *from = &list->list->gradients[index];
    BatchGradient *to = &batch->gradients[batch->gradient_count];
    memset(to, 0, sizeof *to);
    to->kind = from->kind;
    to->count = from->count;
    for (uint32_t i = 0; i < from->count; i++) {
        to->at[i] = from->stops[i].at;
        to->colors[i] = from->stops[i].color;
    }
    /* Pixels to the list's own coordinates. */
    const float *m = state->m, det = m[0] * m[3] - m[1] * m[2];
    const float inverse[6] = {m[3] / det, -m[1] / det, -m[2] / det, m[0] / det};
    const float x[3] = {inverse[0], inverse[2], -(inverse[0] * m[4] + inverse[2] * m[5])};
    const float y[3] = {inverse[1], inverse[3], -(inverse[1] * m[4] + inverse[3] * m[5])};
    const float *w = from->where;
    float dx = w[2] - w[0], dy = w[3] - w[1], along = dx * dx + dy * dy;
    float radius = fmaxf(w[2], 1e-6f);
    for (int i = 0; i < 3; i++) {
        float px = x[i] - (i == 2 ? w[0] : 0), py = y[i] - (i == 2 ? w[1] : 0);
        to->x[i] = from->kind ? px / radius : along > 0 ? (px * dx + py * dy) / along : 0;
        to->y[i] = from->kind ? py / radius : 0;
    }
    list->last_gradient = index + 1;
    list->last_gradient_transform = list->transforms;
    return batch->gradient_count++;
}

int batch_paint(BatchList *list, keel_paint paint, uint32_t *ret_kind, uint32_t *ret_paint)
{
    *ret_kind = paint >> 32 ? INSTANCE_GRADIENT : 0;
    *ret_paint = paint >> 32 ? gradient_of(list, paint) : (uint32_t)paint;
    return !(paint >> 32) || *ret_paint != UINT32_MAX;
}
