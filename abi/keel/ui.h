/* Widgets in immediate mode, on keel.draw/1 and keel.input/1: each frame says which there are, and
 * is told what was done with them. Header only; not part of keel.h.
 *
 *     struct app { struct keel_ui ui; float gain; int32_t on; char name[64]; };   // the state
 *
 *     keel_ui_begin(k, &s->ui);
 *     keel_ui_panel(&s->ui, "Sound", 20, 20, 320);
 *     keel_ui_slider(&s->ui, "Gain", &s->gain, 0, 2);
 *     keel_ui_checkbox(&s->ui, "On", &s->on);
 *     keel_ui_field(&s->ui, "Name", s->name, sizeof s->name);
 *     if (keel_ui_button(&s->ui, "Play"))
 *         play(s);
 *     keel_ui_panel_end(&s->ui);
 *     keel_ui_end(&s->ui);
 *
 * `struct keel_ui` lies in the module's state: a swap in the middle of a drag goes on dragging.
 * What a widget is called tells it apart from others of its panel; what follows "##" is not shown.
 * Tab goes from widget to widget, Enter and Space press, arrows move. All [frame]. */
#ifndef KEEL_UI_H
#define KEEL_UI_H

#include "ui_core.h"
#include "ui_field.h"
#include "ui_list.h"

#endif
