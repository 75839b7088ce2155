/* PNG by libpng: into a file beside the wanted one, which then takes its name. Owns nothing. */
#include "screen/png.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct PngJob {
    FILE *file;
    const uint8_t *pixels;
    uint8_t *row;
    uint32_t width, height;
    char said[200]; /* by libpng */
} PngJob;

static void png_failed(png_structp png, png_const_charp text)
{
    PngJob *job = png_get_error_ptr(png);
    snprintf(job->said, sizeof job->said, "%s", text);
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

/* libpng leaves by a jump when it fails: nothing that changes lives in this function. */
static int write_png(PngJob *job)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, job, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return -1;
    }
    png_init_io(png, job->file);
    png_set_compression_level(png, 3);
    png_set_IHDR(png, info, job->width, job->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_sRGB(png, info, PNG_sRGB_INTENT_PERCEPTUAL);
    png_write_info(png, info);
    for (uint32_t y = 0; y < job->height; y++) {
        const uint8_t *from = job->pixels + (size_t)y * job->width * 4;
        for (uint32_t x = 0; x < job->width; x++)
            memcpy(job->row + x * 3, from + x * 4, 3);
        png_write_row(png, job->row);
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return 0;
}

int png_write_file(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height,
                   Error *err)
{
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.XXXXXX", path) >= (int)sizeof beside)
        return err_set(err, KEEL_EINVAL, "the picture's path is too long: %.200s…", path);
    int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot write a picture to %.800s", path);
    fchmod(fd, 0644);
    PngJob job = {.file = fdopen(fd, "wb"),
                  .pixels = pixels,
                  .row = malloc((size_t)width * 3),
                  .width = width,
                  .height = height};
    int rc = KEEL_OK;
    if (!job.file || !job.row)
        rc = err_set(err, KEEL_ENOMEM, "no memory to write the picture %.800s", path);
    errno = 0;
    if (!rc && (write_png(&job) || fflush(job.file)))
        rc = errno ? err_errno(err, KEEL_EIO, errno, "cannot write the picture %.800s", path)
                   : err_set(err, KEEL_EIO, "cannot write the picture %.800s: %s", path, job.said);
    if (job.file)
        fclose(job.file);
    else
        close(fd);
    free(job.row);
    if (!rc && rename(beside, path))
        rc = err_errno(err, KEEL_EIO, errno, "cannot put the picture at %.800s", path);
    if (rc)
        unlink(beside);
    return rc;
}
