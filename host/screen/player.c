/* OpenGL: one program, one draw call a command. Owns what player.h lists. Frame thread. */
#include "screen/player.h"

#include <epoxy/gl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "screen/player_images.h"
#include "screen/player_programs.h"

enum { INSTANCE_TEXELS = sizeof(Instance) / 16, GRADIENT_TEXELS = sizeof(BatchGradient) / 16 };

_Static_assert(sizeof(Instance) == 64, "the shader reads four texels an instance");
_Static_assert(sizeof(BatchGradient) == 96, "the shader reads six texels a gradient");

static const char *gl_error_name(GLenum error)
{
    switch (error) {
    case GL_INVALID_ENUM:
        return "invalid enum";
    case GL_INVALID_VALUE:
        return "invalid value";
    case GL_INVALID_OPERATION:
        return "invalid operation";
    case GL_INVALID_FRAMEBUFFER_OPERATION:
        return "invalid framebuffer";
    case GL_OUT_OF_MEMORY:
        return "out of memory";
    default:
        return "unknown error";
    }
}

static int checked(const char *what, Error *err)
{
    GLenum error = glGetError();
    if (error == GL_NO_ERROR)
        return KEEL_OK;
    return err_set(err, KEEL_EIO, "OpenGL failed while %s: %s (%#x), by %.80s", what,
                   gl_error_name(error), error, (const char *)glGetString(GL_RENDERER));
}

/* ---- making ---- */

static void make_buffer(GLuint *ret_buffer, GLuint *ret_texture)
{
    glGenBuffers(1, ret_buffer);
    glGenTextures(1, ret_texture);
    glBindBuffer(GL_TEXTURE_BUFFER, *ret_buffer);
    glBufferData(GL_TEXTURE_BUFFER, 4096, NULL, GL_STREAM_DRAW);
    glBindTexture(GL_TEXTURE_BUFFER, *ret_texture);
    glTexBuffer(GL_TEXTURE_BUFFER, GL_RGBA32UI, *ret_buffer);
}

static GLuint make_sampler(GLint shrink, GLint grow)
{
    GLuint sampler;
    glGenSamplers(1, &sampler);
    glSamplerParameteri(sampler, GL_TEXTURE_MIN_FILTER, shrink);
    glSamplerParameteri(sampler, GL_TEXTURE_MAG_FILTER, grow);
    glSamplerParameteri(sampler, GL_TEXTURE_WRAP_S, GL_CLAMP_TO_EDGE);
    glSamplerParameteri(sampler, GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE);
    return sampler;
}

int player_init(Player *player, Error *err)
{
    memset(player, 0, sizeof *player);
    /* On the processor a shader costs by what it could do: each kind of instance gets its own. */
    const char *renderer = (const char *)glGetString(GL_RENDERER);
    player->on_processor = renderer && (strstr(renderer, "llvmpipe") ||
                                        strstr(renderer, "softpipe") || strstr(renderer, "SWR"));
    player->begun = 1;
    GLint texels = 65536;
    glGetIntegerv(GL_MAX_TEXTURE_BUFFER_SIZE, &texels);
    player->texels_most = (uint32_t)texels;
    glGenVertexArrays(1, &player->array);
    glBindVertexArray(player->array);
    glGenBuffers(1, &player->indices);
    glBindBuffer(GL_ELEMENT_ARRAY_BUFFER, player->indices);
    make_buffer(&player->instances, &player->instances_texture);
    make_buffer(&player->gradients, &player->gradients_texture);
    player->smooth = make_sampler(GL_LINEAR_MIPMAP_LINEAR, GL_LINEAR);
    player->nearest = make_sampler(GL_NEAREST, GL_NEAREST);
    const uint8_t white[4] = {255, 255, 255, 255};
    glGenTextures(1, &player->blank);
    glBindTexture(GL_TEXTURE_2D, player->blank);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_SRGB8_ALPHA8, 1, 1, 0, GL_RGBA, GL_UNSIGNED_BYTE, white);
    glGenTextures(1, &player->target_texture);
    glGenFramebuffers(1, &player->target);
    glDisable(GL_DITHER);
    return checked("its objects were made", err);
}

void player_done(Player *player)
{
    if (!player->begun)
        return;
    player_images_done(player);
    player_programs_done(player);
    const GLuint textures[] = {player->instances_texture, player->gradients_texture, player->atlas,
                               player->blank, player->target_texture};
    const GLuint buffers[] = {player->indices, player->instances, player->gradients};
    const GLuint samplers[] = {player->smooth, player->nearest};
    glDeleteTextures(sizeof textures / sizeof *textures, textures);
    glDeleteBuffers(sizeof buffers / sizeof *buffers, buffers);
    glDeleteSamplers(sizeof samplers / sizeof *samplers, samplers);
    glDeleteFramebuffers(1, &player->target);
    glDeleteVertexArrays(1, &player->array);
    player->begun = 0;
}

/* ---- before a picture ---- */

static int make_target(Player *player, uint32_t width, uint32_t height, Error *err)
{
    if (player->width == width && player->height == height)
        return KEEL_OK;
    glBindTexture(GL_TEXTURE_2D, player->target_texture);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_SRGB8_ALPHA8, (GLsizei)width, (GLsizei)height, 0, GL_RGBA,
                 GL_UNSIGNED_BYTE, NULL);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAX_LEVEL, 0);
    glBindFramebuffer(GL_FRAMEBUFFER, player->target);
    glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D,
                           player->target_texture, 0);
    if (glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE)
        return err_set(err, KEEL_EIO, "the driver can't draw into a picture of %u x %u pixels",
                       width, height);
    player->width = width;
    player->height = height;
    return checked("the picture was made", err);
}

/* Two triangles for each four vertices. */
static int make_indices(Player *player, uint32_t instances, Error *err)
{
    if (instances <= player->index_count)
        return KEEL_OK;
    uint32_t count = player->index_count ? player->index_count : 1024;
    while (count < instances)
        count *= 2;
    uint32_t *indices = malloc((size_t)count * 6 * sizeof *indices);
    if (!indices)
        return err_set(err, KEEL_ENOMEM, "no memory for the picture's indices");
    static const uint32_t corners[6] = {0, 1, 2, 2, 1, 3};
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t n = 0; n < 6; n++)
            indices[i * 6 + n] = i * 4 + corners[n];
    glBufferData(GL_ELEMENT_ARRAY_BUFFER, (GLsizeiptr)((size_t)count * 6 * sizeof *indices),
                 indices, GL_STATIC_DRAW);
    free(indices);
    player->index_count = count;
    return KEEL_OK;
}

static void send_atlas(Player *player, Glyphs *glyphs)
{
    glActiveTexture(GL_TEXTURE0 + UNIT_ATLAS);
    int all = glyphs->page_count > player->atlas_pages;
    if (all) { /* it has more pages now: made anew, all of it */
        if (player->atlas)
            glDeleteTextures(1, &player->atlas);
        glGenTextures(1, &player->atlas);
        glBindTexture(GL_TEXTURE_2D_ARRAY, player->atlas);
        glTexImage3D(GL_TEXTURE_2D_ARRAY, 0, GL_R8, GLYPHS_SIDE, GLYPHS_SIDE,
                     (GLsizei)glyphs->page_count, 0, GL_RED, GL_UNSIGNED_BYTE, NULL);
        glTexParameteri(GL_TEXTURE_2D_ARRAY, GL_TEXTURE_MIN_FILTER, GL_LINEAR);
        glTexParameteri(GL_TEXTURE_2D_ARRAY, GL_TEXTURE_MAG_FILTER, GL_LINEAR);
        player->atlas_pages = glyphs->page_count;
    }
    glBindTexture(GL_TEXTURE_2D_ARRAY, player->atlas);
    glPixelStorei(GL_UNPACK_ALIGNMENT, 1);
    for (uint32_t i = 0; i < glyphs->page_count; i++) {
        GlyphPage *page = &glyphs->pages[i];
        uint32_t top = all ? 0 : page->dirty_top, end = all ? GLYPHS_SIDE : page->dirty_end;
        if (top < end)
            glTexSubImage3D(GL_TEXTURE_2D_ARRAY, 0, 0, (GLint)top, (GLint)i, GLYPHS_SIDE,
                            (GLsizei)(end - top), 1, GL_RED, GL_UNSIGNED_BYTE,
                            page->pixels + (size_t)top * GLYPHS_SIDE);
        page->dirty_top = page->dirty_end = 0;
    }
}

static void send_buffer(GLuint buffer, GLuint unit, GLuint texture, const void *data, size_t bytes)
{
    glActiveTexture(GL_TEXTURE0 + unit);
    glBindTexture(GL_TEXTURE_BUFFER, texture);
    if (!bytes)
        return;
    glBindBuffer(GL_TEXTURE_BUFFER, buffer);
    glBufferData(GL_TEXTURE_BUFFER, (GLsizeiptr)bytes, data, GL_STREAM_DRAW);
}

/* ---- the picture ---- */

static void set_blend(uint32_t blend)
{
    switch (blend) {
    case KEEL_BLEND_ADD:
        glBlendFunc(GL_ONE, GL_ONE);
        break;
    case KEEL_BLEND_MULTIPLY:
        glBlendFunc(GL_DST_COLOR, GL_ONE_MINUS_SRC_ALPHA);
        break;
    case KEEL_BLEND_COPY:
        glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC1_COLOR);
        break;
    default:
        glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
        break;
    }
}

static void set_clips(const PlayerProgram *program, const BatchCommand *command)
{
    float x[BATCH_CLIPS][3], y[BATCH_CLIPS][3], size[BATCH_CLIPS][4];
    GLsizei count = (GLsizei)command->clip_count;
    glUniform1i(program->at_clips, count);
    if (!count)
        return;
    for (GLsizei i = 0; i < count; i++) {
        const BatchClip *clip = &command->clips[i];
        memcpy(x[i], clip->x, sizeof x[i]);
        memcpy(y[i], clip->y, sizeof y[i]);
        memcpy(size[i], clip->half, sizeof clip->half);
        memcpy(size[i] + 2, clip->radius, sizeof clip->radius);
    }
    glUniform3fv(program->at_clip_x, count, x[0]);
    glUniform3fv(program->at_clip_y, count, y[0]);
    glUniform4fv(program->at_clip_size, count, size[0]);
}

static int run_command(Player *player, const BatchCommand *command, uint32_t first, uint32_t count,
                       Error *err)
{
    if (command->right <= command->left || command->bottom <= command->top)
        return KEEL_OK;
    const PlayerProgram *program = player_use_program(player, command, err);
    if (!program)
        return err->code;
    GLuint texture = command->image ? player_image(player, command->image) : player->blank;
    glActiveTexture(GL_TEXTURE0 + UNIT_IMAGE);
    glBindTexture(GL_TEXTURE_2D, texture);
    glBindSampler(UNIT_IMAGE, command->nearest ? player->nearest : player->smooth);
    glScissor(command->left, command->top, command->right - command->left,
              command->bottom - command->top);
    set_blend(command->blend);
    set_clips(program, command);
    glDrawElements(GL_TRIANGLES, (GLsizei)(count * 6), GL_UNSIGNED_INT,
                   (const void *)((uintptr_t)first * 6 * sizeof(uint32_t)));
    return KEEL_OK;
}

/* As many instances at a time as a texture buffer holds. */
static int run_commands(Player *player, const Batch *batch, Error *err)
{
    uint32_t most = player->texels_most / INSTANCE_TEXELS;
    uint32_t at = 0; /* the command that is under way */
    int rc = make_indices(player, batch->count < most ? batch->count : most, err);
    for (uint32_t first = 0; first < batch->count && !rc; first += most) {
        uint32_t end = batch->count - first < most ? batch->count : first + most;
        send_buffer(player->instances, UNIT_INSTANCES, player->instances_texture,
                    batch->instances + first, (end - first) * sizeof(Instance));
        for (; at < batch->command_count && !rc; at++) {
            const BatchCommand *command = &batch->commands[at];
            uint32_t from = command->first > first ? command->first : first;
            uint32_t to =
                command->first + command->count < end ? command->first + command->count : end;
            if (from < to)
                rc = run_command(player, command, from - first, to - from, err);
            if (command->first + command->count > end)
                break;
        }
    }
    return rc;
}

int player_play(Player *player, const Batch *batch, Glyphs *glyphs, Error *err)
{
    player->plays++;
    int rc = make_target(player, batch->width, batch->height, err);
    if (rc)
        return rc;
    float parts[3];
    for (int i = 0; i < 3; i++) {
        float c = (float)(batch->background >> (24 - 8 * i) & 255) / 255;
        parts[i] = c < 0.04045f ? c / 12.92f : powf((c + 0.055f) / 1.055f, 2.4f);
    }
    glBindVertexArray(player->array);
    glBindBuffer(GL_ELEMENT_ARRAY_BUFFER, player->indices);
    if (glyphs->page_count)
        send_atlas(player, glyphs);
    size_t gradients = batch->gradient_count;
    if (gradients > player->texels_most / GRADIENT_TEXELS)
        gradients = player->texels_most / GRADIENT_TEXELS;
    send_buffer(player->gradients, UNIT_GRADIENTS, player->gradients_texture, batch->gradients,
                gradients * sizeof *batch->gradients);
    player_images_prepare(player, batch);
    glBindFramebuffer(GL_FRAMEBUFFER, player->target);
    glViewport(0, 0, (GLsizei)batch->width, (GLsizei)batch->height);
    glDisable(GL_SCISSOR_TEST);
    glEnable(GL_FRAMEBUFFER_SRGB);
    glClearColor(parts[0], parts[1], parts[2], 1);
    glClear(GL_COLOR_BUFFER_BIT);
    glEnable(GL_SCISSOR_TEST);
    glEnable(GL_BLEND);
    glColorMask(1, 1, 1, 0);
    player->program = NULL;
    rc = run_commands(player, batch, err);
    glColorMask(1, 1, 1, 1);
    glDisable(GL_BLEND);
    glDisable(GL_SCISSOR_TEST);
    glDisable(GL_FRAMEBUFFER_SRGB);
    glBindSampler(UNIT_IMAGE, 0);
    return rc ? rc : checked("it drew", err);
}

int player_present(Player *player, uint32_t width, uint32_t height, Error *err)
{
    glBindFramebuffer(GL_READ_FRAMEBUFFER, player->target);
    glBindFramebuffer(GL_DRAW_FRAMEBUFFER, 0);
    /* The picture's first row is the top, the window's is the bottom. */
    glBlitFramebuffer(0, 0, (GLint)player->width, (GLint)player->height, 0, (GLint)height,
                      (GLint)width, 0, GL_COLOR_BUFFER_BIT, GL_NEAREST);
    return checked("the picture was shown", err);
}

int player_read(Player *player, uint8_t *ret_pixels, Error *err)
{
    glBindFramebuffer(GL_READ_FRAMEBUFFER, player->target);
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
    glReadPixels(0, 0, (GLsizei)player->width, (GLsizei)player->height, GL_RGBA, GL_UNSIGNED_BYTE,
                 ret_pixels);
    return checked("the picture was read", err);
}
