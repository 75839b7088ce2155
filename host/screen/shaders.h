/* The one program that draws all instances: its two sources. */
#ifndef SCREEN_SHADERS_H
#define SCREEN_SHADERS_H

extern const char *const shader_vertex, *const shader_fragment;

#endif
