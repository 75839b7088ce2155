/* `keel ctl snapshot`. Main thread. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/ctl.h"
#include "app/state_foreign.h"
#include "app/text.h"

static int refused(const char *part, const char *text)
{
    unlink(part);
    fputs("keel ctl: not written: ", stderr);
    text_print(stderr, text);
    fputc('\n', stderr);
    return REFUSED;
}

int ctl_snapshot(Ctl *ctl, int count, char **args)
{
    char path[PATH_MAX * 2] = "", number[TEXT_CELL_BYTES], size[TEXT_CELL_BYTES];
    if (count < 1 || count > 2 || !args[0][0])
        return ctl_wrong("snapshot takes the file, and the slot where there are several%s", "");
    if (args[0][0] != '/' && !getcwd(path, PATH_MAX))
        return ctl_wrong("snapshot needs the whole path of the file: where this is can't be told%s",
                         "");
    size_t used = strlen(path);
    snprintf(path + used, sizeof path - used, "%s%s", used ? "/" : "", args[0]);
    char part[sizeof path + 8];
    snprintf(part, sizeof part, "%s.part", path);
    json_t *result;
    int status = ctl_ask(ctl, "snapshot",
                         json_pack("{s:s, s:s*}", "file", part, "slot", count > 1 ? args[1] : NULL),
                         &result);
    if (status)
        return status;
    Error err = {0};
    if ((!ctl->foreign && state_foreign_check(part, &err)) ||
        (rename(part, path) && err_errno(&err, KEEL_EIO, errno, "cannot rename it to %s", path))) {
        json_decref(result);
        return refused(part, err.text);
    }
    if (ctl->json)
        ctl_print_json(result);
    else
        printf("frame %s, %s\n",
               text_count(number, json_integer_value(json_object_get(result, "frames"))),
               text_bytes(size, json_integer_value(json_object_get(result, "bytes"))));
    json_decref(result);
    return DONE;
}
