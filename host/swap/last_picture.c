/* A last picture from a file, whose bytes are not trusted: its list is recorded anew, so that every
 * number of it passes the checks that a module's would. Owns what it makes. Any thread. */
#include "swap/last_picture.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

static int damaged(Error *err, const char *what)
{
    return err_set(err, KEEL_EDATA, "it is damaged or cut short (%s)", what);
}

/* ---- one record ---- */

static int transform(DrawList *to, const DrawHead *head)
{
    const DrawTransform *t = (const void *)head;
    return head->bytes < sizeof *t ? KEEL_EDATA : draw_transform(to, t->m);
}

static int shape(DrawList *to, const DrawHead *head)
{
    const DrawShape *s = (const void *)head;
    if (head->bytes < sizeof *s)
        return KEEL_EDATA;
    const float *at = s->at;
    switch (head->op) {
    case DRAW_CLIP:
        return draw_clip(to, at[0], at[1], at[2], at[3], at[4]);
    case DRAW_CLEAR:
        return draw_clear(to, s->paint);
    case DRAW_RECT:
        return draw_rect(to, at[0], at[1], at[2], at[3], at[4], at[5], s->paint);
    case DRAW_ELLIPSE:
        return draw_ellipse(to, at[0], at[1], at[2], at[3], at[4], s->paint);
    case DRAW_ARC:
        return draw_arc(to, at[0], at[1], at[2], at[3], at[4], at[5], head->detail, s->paint);
    case DRAW_LINE:
        return draw_line(to, at[0], at[1], at[2], at[3], at[4], head->detail, s->paint);
    default: {
        const struct keel_point points[3] = {{at[0], at[1]}, {at[2], at[3]}, {at[4], at[5]}};
        return draw_triangle(to, points, s->paint);
    }
    }
}

static int path(DrawList *to, const DrawHead *head)
{
    const DrawPath *p = (const void *)head;
    if (head->bytes < sizeof *p || p->count > (head->bytes - sizeof *p) / sizeof *p->points)
        return KEEL_EDATA;
    const struct keel_path style = {
        .size = sizeof style, .flags = p->flags, .cap = p->cap, .join = p->join, .width = p->width};
    return draw_path(to, p->points, p->count, &style, p->paint);
}

static int text(DrawList *to, const DrawHead *head)
{
    const DrawText *t = (const void *)head;
    if (head->bytes < sizeof *t || t->family_bytes > DRAW_FAMILY_BYTES ||
        t->family_bytes > head->bytes - sizeof *t ||
        t->text_bytes > head->bytes - sizeof *t - t->family_bytes)
        return KEEL_EDATA;
    char family[DRAW_FAMILY_BYTES + 1] = "";
    memcpy(family, t->bytes, t->family_bytes);
    const struct keel_font font = {.size = sizeof font,
                                   .flags = t->flags,
                                   .px = t->px,
                                   .weight = t->weight,
                                   .align = t->align,
                                   .family = t->family_bytes ? family : NULL};
    return draw_text(to, t->x, t->y, t->bytes + t->family_bytes, t->text_bytes, &font, t->paint);
}

static int image(DrawList *to, const DrawHead *head)
{
    const DrawImage *i = (const void *)head;
    if (head->bytes < sizeof *i)
        return KEEL_EDATA;
    const float *from = i->from[2] != 0 || i->from[3] != 0 ? i->from : NULL;
    return draw_image(to, i->image, i->to, from, head->detail, i->tint);
}

static int record(DrawList *to, const DrawHead *head)
{
    switch (head->op) {
    case DRAW_PUSH:
        return draw_push(to);
    case DRAW_POP:
        return draw_pop(to);
    case DRAW_TRANSFORM:
        return transform(to, head);
    case DRAW_BLEND:
        return draw_blend(to, head->detail);
    case DRAW_PATH:
        return path(to, head);
    case DRAW_TEXT:
        return text(to, head);
    case DRAW_IMAGE:
        return image(to, head);
    default:
        return head->op < DRAW_OPS ? shape(to, head) : KEEL_EDATA;
    }
}

/* ---- the parts ---- */

static int take_gradients(DrawList *to, const uint8_t *at, uint32_t count, Error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        DrawGradient g;
        memcpy(&g, at + i * sizeof g, sizeof g);
        if (!draw_gradient(to, g.kind, g.where, g.stops, g.count))
            return damaged(err, "a gradient");
    }
    return KEEL_OK;
}

static int take_list(DrawList *to, const uint8_t *at, uint64_t bytes, Error *err)
{
    while (bytes) {
        const DrawHead *head = (const void *)at; /* the body begins at a multiple of 8 */
        if (bytes < sizeof *head || head->bytes < sizeof *head || head->bytes % 8 ||
            head->bytes > bytes || record(to, head))
            return damaged(err, "what was drawn");
        at += head->bytes;
        bytes -= head->bytes;
    }
    return KEEL_OK;
}

static int take_images(Pictures *to, const uint8_t *at, const uint8_t *pixels, uint64_t left,
                       uint32_t count, Error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        LastPictureImage own;
        memcpy(&own, at + i * sizeof own, sizeof own);
        if (own.width > PICTURE_SIDE || own.height > PICTURE_SIDE)
            return damaged(err, "an image");
        uint64_t bytes = (uint64_t)own.width * own.height * 4, whole = (bytes + 7) & ~UINT64_C(7);
        if (whole > left || hash_bytes(pixels, bytes).low != own.check ||
            pictures_put(to, own.image, own.width, own.height, pixels))
            return damaged(err, "an image");
        pixels += whole;
        left -= whole;
    }
    return left ? damaged(err, "what follows its end") : KEEL_OK;
}

static int head_good(const LastPictureHead *h, size_t bytes)
{
    enum { SIDE_MOST = 1000000 };
    return h->head_check == hash_bytes(h, offsetof(LastPictureHead, head_check)).low &&
           h->file_bytes == bytes && h->head_bytes == sizeof *h &&
           h->list_bytes <= LAST_PICTURE_LIST_BYTES && h->list_bytes % 8 == 0 &&
           h->gradients <= DRAW_GRADIENTS && h->images <= PICTURES_MOST && h->width > 0 &&
           h->width <= SIDE_MOST && h->height > 0 && h->height <= SIDE_MOST;
}

int last_picture_decode(const void *data, size_t bytes, LastPicture **ret, Error *err)
{
    LastPictureHead head;
    if (bytes < sizeof head || memcmp(data, LAST_PICTURE_MAGIC, sizeof head.magic) != 0)
        return err_set(err, KEEL_EDATA, "it is no last picture of Keel");
    memcpy(&head, data, sizeof head);
    if (head.version != LAST_PICTURE_VERSION)
        return err_set(err, KEEL_EDATA, "it is of format %u, this Keel reads format %d",
                       head.version, LAST_PICTURE_VERSION);
    if (!head_good(&head, bytes))
        return damaged(err, "its head");
    const uint8_t *list = (const uint8_t *)data + sizeof head, *gradients = list + head.list_bytes;
    uint64_t body = head.list_bytes + head.gradients * sizeof(DrawGradient) +
                    head.images * sizeof(LastPictureImage);
    if (body > bytes - sizeof head || hash_bytes(list, body).low != head.body_check)
        return damaged(err, "its contents");
    LastPicture *picture = calloc(1, sizeof *picture);
    if (!picture)
        return err_set(err, KEEL_ENOMEM, "no memory for it");
    pictures_init(&picture->pictures);
    picture->width = head.width;
    picture->height = head.height;
    picture->wall_ns = head.wall_ns;
    int rc = take_gradients(&picture->list, gradients, head.gradients, err);
    if (rc == KEEL_OK)
        rc = take_list(&picture->list, list, head.list_bytes, err);
    if (rc == KEEL_OK)
        rc = take_images(&picture->pictures, gradients + head.gradients * sizeof(DrawGradient),
                         list + body, bytes - sizeof head - body, head.images, err);
    if (rc) {
        last_picture_free(picture);
        return rc;
    }
    *ret = picture;
    return KEEL_OK;
}

/* ---- the file ---- */

static int read_all(int fd, uint8_t *to, size_t bytes)
{
    while (bytes) {
        ssize_t n = read(fd, to, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        to += n;
        bytes -= (size_t)n;
    }
    return 1;
}

int last_picture_read(const char *path, LastPicture **ret, Error *err)
{
    const size_t most = LAST_PICTURE_LIST_BYTES + LAST_PICTURE_IMAGES_BYTES + ((size_t)2 << 20);
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno == ENOENT ? KEEL_ENOTFOUND : KEEL_EIO, errno, "cannot open %s",
                         path);
    int rc = KEEL_OK;
    uint8_t *data = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > most)
        rc = err_set(err, KEEL_EDATA, "it is no last picture of Keel");
    else if (!(data = malloc((size_t)st.st_size + 1)))
        rc = err_set(err, KEEL_ENOMEM, "no memory for it");
    else if (!read_all(fd, data, (size_t)st.st_size))
        rc = err_errno(err, KEEL_EIO, errno, "cannot read it");
    close(fd);
    if (rc == KEEL_OK)
        rc = last_picture_decode(data, (size_t)st.st_size, ret, err);
    free(data);
    return rc ? err_wrap(err, "%s", path) : KEEL_OK;
}

void last_picture_free(LastPicture *picture)
{
    if (!picture)
        return;
    draw_list_done(&picture->list);
    pictures_done(&picture->pictures);
    free(picture);
}
