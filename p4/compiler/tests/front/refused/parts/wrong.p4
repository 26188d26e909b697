#error this part is wrong
const string text = "without an end;
