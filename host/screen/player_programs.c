/* Programs, one for each set of abilities that is needed. A graphics card draws everything with one
 * or two of them; where the processor draws, each kind of instance has its own. Owns them. Frame
 * thread. */
#include "screen/player_programs.h"

#include <epoxy/gl.h>
#include <stdio.h>

#include "screen/shaders.h"

/* Bits 0 to 7 as BatchCommand.kinds. */
enum { SOME_GRADIENTS = 0x100, ALL_GRADIENTS = 0x200, CLIPS = 0x400, ALL_KINDS = 0x7f };

static int compile(GLuint shader, const char *head, const char *source, Error *err)
{
    char said[600] = "";
    const char *sources[2] = {head, source};
    GLint good = 0;
    glShaderSource(shader, 2, sources, NULL);
    glCompileShader(shader);
    glGetShaderiv(shader, GL_COMPILE_STATUS, &good);
    glGetShaderInfoLog(shader, sizeof said, NULL, said);
    return good ? KEEL_OK : err_set(err, KEEL_EIO, "the driver refuses the shader: %s", said);
}

static int link_program(PlayerProgram *program, Error *err)
{
    char head[200], said[600] = "";
    GLint good = 0;
    uint32_t abilities = program->abilities;
    int gradients = abilities & ALL_GRADIENTS ? 2 : abilities & SOME_GRADIENTS ? 1 : 0;
    snprintf(head, sizeof head,
             "#version 330 core\nconst uint KINDS = %uu;\nconst int GRADIENTS = %d;\n"
             "const bool CLIPS = %s;\n",
             abilities & ALL_KINDS, gradients, abilities & CLIPS ? "true" : "false");
    GLuint vertex = glCreateShader(GL_VERTEX_SHADER), fragment = glCreateShader(GL_FRAGMENT_SHADER);
    int rc = compile(vertex, "", shader_vertex, err);
    if (!rc)
        rc = compile(fragment, head, shader_fragment, err);
    if (!rc) {
        program->program = glCreateProgram();
        glAttachShader(program->program, vertex);
        glAttachShader(program->program, fragment);
        glLinkProgram(program->program);
        glGetProgramiv(program->program, GL_LINK_STATUS, &good);
        glGetProgramInfoLog(program->program, sizeof said, NULL, said);
        if (!good)
            rc = err_set(err, KEEL_EIO, "the driver can't link the shaders: %s", said);
    }
    glDeleteShader(vertex);
    glDeleteShader(fragment);
    return rc;
}

static int make(PlayerProgram *program, Error *err)
{
    int rc = link_program(program, err);
    if (rc)
        return rc;
    GLuint id = program->program;
    glUseProgram(id);
    glUniform1i(glGetUniformLocation(id, "instances"), UNIT_INSTANCES);
    glUniform1i(glGetUniformLocation(id, "gradients"), UNIT_GRADIENTS);
    glUniform1i(glGetUniformLocation(id, "atlas"), UNIT_ATLAS);
    glUniform1i(glGetUniformLocation(id, "image"), UNIT_IMAGE);
    program->at_target = glGetUniformLocation(id, "target");
    program->at_clips = glGetUniformLocation(id, "clips");
    program->at_clip_x = glGetUniformLocation(id, "clip_x");
    program->at_clip_y = glGetUniformLocation(id, "clip_y");
    program->at_clip_size = glGetUniformLocation(id, "clip_size");
    return KEEL_OK;
}

static uint32_t abilities_for(const Player *player, const BatchCommand *command)
{
    uint32_t clips = command->clip_count ? CLIPS : 0;
    if (!player->on_processor)
        return ALL_KINDS | SOME_GRADIENTS | clips;
    return (command->kinds & ALL_KINDS) | clips |
           (command->kinds & INSTANCE_GRADIENT ? ALL_GRADIENTS : 0);
}

static PlayerProgram *program_with(Player *player, uint32_t abilities, Error *err)
{
    PlayerProgram *program = player->programs;
    while (program->abilities && program->abilities != abilities)
        program++; /* fewer sets of abilities come up than there are places */
    if (!program->abilities) {
        program->abilities = abilities;
        if (make(program, err)) {
            program->abilities = 0;
            return NULL;
        }
        player->program = NULL;
    }
    return program;
}

const PlayerProgram *player_use_program(Player *player, const BatchCommand *command, Error *err)
{
    PlayerProgram *program = program_with(player, abilities_for(player, command), err);
    if (!program)
        return NULL;
    if (player->program != program)
        glUseProgram(program->program);
    player->program = program;
    if (program->targeted != player->plays) {
        program->targeted = player->plays;
        glUniform2f(program->at_target, (float)player->width, (float)player->height);
    }
    return program;
}

void player_warm(Player *player)
{
    Error err = {0};
    const BatchCommand shapes = {.kinds = 1u << INSTANCE_SHAPE};
    program_with(player, abilities_for(player, &shapes),
                 &err); /* the first picture tells what is wrong */
}

void player_programs_done(Player *player)
{
    for (int i = 0; i < PLAYER_PROGRAMS; i++)
        if (player->programs[i].program)
            glDeleteProgram(player->programs[i].program);
}
