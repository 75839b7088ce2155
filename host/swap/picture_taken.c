/* A slot's picture taken and written to a file. Owns the list's copy and holds the images' pixels.
 * Taken on the frame thread, written on any. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "swap/last_picture.h"

struct PictureTaken {
    LastPictureHead head;
    Buf body; /* list and gradients */
    uint32_t image_count;
    LastPictureImage images[PICTURES_MOST];
    uint8_t *pixels[PICTURES_MOST];
};

static size_t bytes_of(const LastPictureImage *image)
{
    return (size_t)image->width * image->height * 4;
}

static void hold_image(PictureTaken *taken, const Pictures *pictures, keel_handle handle,
                       size_t *bytes)
{
    const Picture *picture = pictures_find(pictures, handle);
    if (!picture || taken->image_count == PICTURES_MOST)
        return;
    for (uint32_t i = 0; i < taken->image_count; i++)
        if (taken->images[i].image == handle)
            return;
    const LastPictureImage image = {
        .image = handle, .width = picture->width, .height = picture->height};
    if (bytes_of(&image) > LAST_PICTURE_IMAGES_BYTES - *bytes)
        return;
    *bytes += bytes_of(&image);
    taken->images[taken->image_count] = image;
    taken->pixels[taken->image_count++] = pictures_hold(picture);
}

int picture_take(const Draw *draw, const Pictures *pictures, int64_t wall_ns, PictureTaken **ret)
{
    const DrawList *list = draw->good;
    size_t gradients = list->gradient_count * sizeof *list->gradients, images = 0;
    if (list->used > LAST_PICTURE_LIST_BYTES)
        return KEEL_ELIMIT;
    PictureTaken *taken = calloc(1, sizeof *taken);
    if (!taken || buf_add(&taken->body, list->data, list->used) ||
        buf_add(&taken->body, list->gradients, gradients)) {
        picture_drop(taken);
        return KEEL_ENOMEM;
    }
    taken->head = (LastPictureHead){.magic = LAST_PICTURE_MAGIC,
                                    .version = LAST_PICTURE_VERSION,
                                    .head_bytes = sizeof taken->head,
                                    .width = draw->good_width,
                                    .height = draw->good_height,
                                    .wall_ns = wall_ns,
                                    .list_bytes = list->used,
                                    .gradients = list->gradient_count};
    for (const DrawHead *at = draw_first(list); at; at = draw_next(list, at))
        if (at->op == DRAW_IMAGE)
            hold_image(taken, pictures, ((const DrawImage *)(const void *)at)->image, &images);
    *ret = taken;
    return KEEL_OK;
}

void picture_drop(PictureTaken *taken)
{
    if (!taken)
        return;
    for (uint32_t i = 0; i < taken->image_count; i++)
        pictures_let_go(taken->pixels[i]);
    buf_done(&taken->body);
    free(taken);
}

static int put(int fd, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : ENOSPC;
            return 0;
        }
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* Head, list, gradients, images' heads, images' pixels, each a whole number of 8 bytes. */
static int put_all(const PictureTaken *taken, int fd)
{
    static const uint8_t zeros[8];
    LastPictureHead head = taken->head;
    Buf body = {0};
    int good = !buf_add(&body, taken->body.data, taken->body.bytes);
    size_t pixels = 0;
    for (uint32_t i = 0; i < taken->image_count && good; i++) {
        LastPictureImage image = taken->images[i];
        image.check = hash_bytes(taken->pixels[i], bytes_of(&image)).low;
        pixels += (bytes_of(&image) + 7) & ~(size_t)7;
        good = !buf_add(&body, &image, sizeof image);
    }
    if (good) {
        head.images = taken->image_count;
        head.file_bytes = sizeof head + body.bytes + pixels;
        head.body_check = hash_bytes(body.data, body.bytes).low;
        head.head_check = hash_bytes(&head, offsetof(LastPictureHead, head_check)).low;
        good = put(fd, &head, sizeof head) && put(fd, body.data, body.bytes);
    } else {
        errno = ENOMEM;
    }
    buf_done(&body);
    for (uint32_t i = 0; i < taken->image_count && good; i++) {
        size_t bytes = bytes_of(&taken->images[i]);
        good = put(fd, taken->pixels[i], bytes) && put(fd, zeros, -bytes & 7);
    }
    return good;
}

int picture_write_file(const PictureTaken *taken, const char *path, Error *err)
{
    char temporary[4320];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return err_set(err, KEEL_EINVAL, "the last picture's name is too long");
    unlink(temporary); /* of one that was cut off */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int good = fd >= 0 && put_all(taken, fd);
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (good && rename(temporary, path) == 0)
        return KEEL_OK;
    number = good ? errno : number;
    unlink(temporary);
    return err_errno(err, number == ENOSPC ? KEEL_ENOSPACE : KEEL_EIO, number,
                     "cannot write the last picture %s", path);
}
