/* What the picture tests draw: one function a picture, into a list. */
#ifndef SCENES_H
#define SCENES_H

#include "swap/draw.h"
#include "swap/pictures.h"

enum { SCENE_WIDTH = 320, SCENE_HEIGHT = 200 };

typedef struct Scene {
    const char *name;
    void (*draw)(DrawList *list, Pictures *pictures);
} Scene;

/* Of scene_widgets.c. */
void scene_form(DrawList *list, Pictures *pictures);
void scene_many(DrawList *list, Pictures *pictures);

extern const Scene scenes[];
extern const int scene_count;

#endif
