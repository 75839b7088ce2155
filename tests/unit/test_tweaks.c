/* swap/tweaks: values live in the state, a changed default wins, setting is checked and is an input
 * like others. */
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <keel/tweak.h>

#include "swap/tweaks.h"

typedef struct Rig {
    State *state;
    Tweaks tweaks;
    Inputs inputs;
} Rig;

static int set_up(void **ret)
{
    static Rig rig;
    memset(&rig, 0, sizeof rig);
    inputs_init(&rig.inputs);
    *ret = &rig;
    return state_open(NULL, &rig.state, NULL);
}

static int take_down(void **user)
{
    Rig *rig = *user;
    inputs_done(&rig->inputs);
    tweaks_done(&rig->tweaks);
    state_close(rig->state);
    return 0;
}

static double ask(Rig *rig, uint64_t generation, const char *name, double initial)
{
    Tweak asked = {.kind = KEEL_TWEAK_REAL, .initial = initial, .least = 0, .most = 20};
    const char *warning = NULL;
    snprintf(asked.name, sizeof asked.name, "%s", name);
    double value = tweaks_value(&rig->tweaks, rig->state, generation, &asked, &warning);
    assert_null(warning);
    return value;
}

static void set(Rig *rig, uint64_t generation, const char *name, double value)
{
    Error err = {0};
    assert_int_equal(tweaks_set(&rig->tweaks, generation, name, value, &rig->inputs, 1, &err), 0);
}

static void frame(Rig *rig)
{
    for (const Input *input = inputs_take(&rig->inputs); input; input = input->next)
        tweaks_apply(&rig->tweaks, rig->state, &input->event);
}

static void commit(Rig *rig)
{
    const struct keel_frame f = {.size = sizeof f};
    inputs_commit(&rig->inputs, &f);
    assert_int_equal(state_commit(rig->state, NULL), 0);
}

static void a_value_lives_in_the_state(void **user)
{
    Rig *rig = *user;
    assert_true(ask(rig, 1, "g", 9.8) == 9.8);
    commit(rig);
    set(rig, 1, "g", 3);
    assert_true(ask(rig, 1, "g", 9.8) == 9.8); /* not before a frame takes it */
    frame(rig);
    assert_true(ask(rig, 1, "g", 9.8) == 3);
    assert_int_equal(state_undo(rig->state, NULL), 0);
    inputs_undo(&rig->inputs);
    assert_true(ask(rig, 1, "g", 9.8) == 9.8); /* that frame never happened */
    frame(rig);
    assert_true(ask(rig, 1, "g", 9.8) == 3);
    commit(rig);
    assert_true(ask(rig, 2, "g", 9.8) == 3); /* the next generation finds it */
    state_reset(rig->state);                 /* as before restore */
    assert_true(ask(rig, 2, "g", 9.8) == 3);
}

static void a_changed_default_wins(void **user)
{
    Rig *rig = *user;
    ask(rig, 1, "g", 9.8);
    set(rig, 1, "g", 3);
    frame(rig);
    commit(rig);
    assert_true(ask(rig, 2, "g", 9.9) == 9.9);
    assert_true(ask(rig, 2, "g", 9.9) == 9.9);
    set(rig, 2, "g", 5);
    frame(rig);
    commit(rig);
    assert_true(ask(rig, 2, "g", 9.9) == 5);
    assert_true(ask(rig, 3, "g", 9.8) == 9.8); /* taken back out, or edited back */
}

static void two_defaults_are_told_once_and_the_first_counts(void **user)
{
    Rig *rig = *user;
    ask(rig, 1, "g", 9.8);
    const char *warning = NULL;
    const Tweak other = {.name = "g", .initial = 1, .least = 0, .most = 20};
    assert_true(tweaks_value(&rig->tweaks, rig->state, 1, &other, &warning) == 9.8);
    assert_non_null(warning);
    warning = NULL;
    tweaks_value(&rig->tweaks, rig->state, 1, &other, &warning);
    assert_null(warning);
    assert_true(ask(rig, 1, "g", 9.8) == 9.8);
}

static void what_cant_be_set_is_refused(void **user)
{
    Rig *rig = *user;
    Error err = {0};
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "g", 1, &rig->inputs, 1, &err), KEEL_ENOTFOUND);
    assert_non_null(strstr(err.text, "the module has no tweaks"));
    ask(rig, 1, "gravity", 9.8);
    ask(rig, 1, "wind", 1);
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "gravitas", 1, &rig->inputs, 1, &err),
                     KEEL_ENOTFOUND);
    assert_non_null(strstr(err.text, "there are gravity, wind"));
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "wind", 20.5, &rig->inputs, 1, &err), KEEL_EINVAL);
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "wind", -1, &rig->inputs, 1, &err), KEEL_EINVAL);
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "wind", (double)NAN, &rig->inputs, 1, &err),
                     KEEL_EINVAL);
    assert_int_equal(tweaks_set(&rig->tweaks, 2, "wind", 1, &rig->inputs, 1, &err),
                     KEEL_ENOTFOUND); /* another generation runs, which has asked for none */
    const Tweak fish = {.name = "fish", .kind = KEEL_TWEAK_INT, .initial = 3, .most = 9};
    const char *warning = NULL;
    tweaks_value(&rig->tweaks, rig->state, 1, &fish, &warning);
    assert_int_equal(tweaks_set(&rig->tweaks, 1, "fish", 2.5, &rig->inputs, 1, &err), KEEL_EINVAL);
    assert_null(inputs_take(&rig->inputs));
}

static void many_are_kept_and_more_stay_at_their_default(void **user)
{
    Rig *rig = *user;
    char name[16];
    for (int i = 0; i < TWEAKS_MOST; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_true(ask(rig, 1, name, 1) == 1);
        set(rig, 1, name, i % 20);
    }
    frame(rig);
    const Tweak more = {.name = "more", .initial = 7, .most = 9};
    const char *warning = NULL;
    assert_true(tweaks_value(&rig->tweaks, rig->state, 1, &more, &warning) == 7);
    assert_non_null(warning);
    static Tweak list[TWEAKS_MOST];
    assert_int_equal(tweaks_list(&rig->tweaks, rig->state, 1, list), TWEAKS_MOST);
    for (int i = 0; i < TWEAKS_MOST; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_string_equal(list[i].name, name);
        assert_true(list[i].value == i % 20);
    }
    assert_int_equal(state_check(rig->state, NULL), 0);
}

static void a_module_that_writes_over_them_gets_the_default(void **user)
{
    Rig *rig = *user;
    ask(rig, 1, "g", 9.8);
    void *kept = state_kept(rig->state, 1);
    assert_non_null(kept);
    memset(kept, 0xff, 16); /* also the counts */
    assert_true(ask(rig, 1, "g", 9.8) == 9.8);
    assert_int_equal(state_check(rig->state, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_value_lives_in_the_state, set_up, take_down),
        cmocka_unit_test_setup_teardown(a_changed_default_wins, set_up, take_down),
        cmocka_unit_test_setup_teardown(two_defaults_are_told_once_and_the_first_counts, set_up,
                                        take_down),
        cmocka_unit_test_setup_teardown(what_cant_be_set_is_refused, set_up, take_down),
        cmocka_unit_test_setup_teardown(many_are_kept_and_more_stay_at_their_default, set_up,
                                        take_down),
        cmocka_unit_test_setup_teardown(a_module_that_writes_over_them_gets_the_default, set_up,
                                        take_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
