/* What the program keeps on its own heap and its plugin works on. */
struct world {
    long ticks;
    double height, speed;
};
