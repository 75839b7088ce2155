/* The commands of the program `keel`: each parses its own arguments and returns the exit status.
 * Statuses: 0 good, 1 the answer is no, 2 could not be done or was asked wrongly. */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

int app_run(int argc, char **argv);
int app_record(int argc, char **argv);
int app_replay(int argc, char **argv);
int app_state(int argc, char **argv);
int app_new(int argc, char **argv);
int app_dev(int argc, char **argv);
int app_inspect(int argc, char **argv);
int app_diff(int argc, char **argv);
int app_types(int argc, char **argv);
int app_key(int argc, char **argv);
int app_manifest(int argc, char **argv);
int app_ctl(int argc, char **argv);
int app_log(int argc, char **argv);
int app_smoke(int argc, char **argv);

#endif
