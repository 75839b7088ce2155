/* `keel ctl snapshot`. Main thread. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/ctl.h"
#include "app/text.h"

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
    json_t *result;
    int status = ctl_ask(ctl, "snapshot",
                         json_pack("{s:s, s:s*}", "file", path, "slot", count > 1 ? args[1] : NULL),
                         &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    else
        printf("frame %s, %s\n",
               text_count(number, json_integer_value(json_object_get(result, "frames"))),
               text_bytes(size, json_integer_value(json_object_get(result, "bytes"))));
    json_decref(result);
    return DONE;
}
