/* What the tiny models answer by a second implementation. Made by tests/weights/reference_gguf.py text, which says by which. */
#define REFERENCE_TOKENS 24
static const struct reference_text {
    const char *architecture;
    struct {
        const char *role, *content;
    } messages[4];
    unsigned prompt_tokens;
    const char *answer; /* a token is a word */
    double margin; /* the smallest between the two likeliest tokens */
} reference_texts[] = {
    {"deepseek2",
     {{"user", "Name three colours."}},
     17,
     " new earth bring like tell write last strong garden north new sun sky piece night head yard air top full time walk piece"
      " walk",
     0.384},
    {"deepseek2",
     {{"system", "You are a careful gardener."},
      {"user", "Wie sp\303\244t ist es? 12345 \346\235\261\344\272\254 \342\200\224 na\303\257ve caf\303\251s \360\237\214\261 it's 3.14"}},
     79,
     " home wood bright four voice clean very open even the as book care fish long spring way old watch end seven name cool fr"
      "esh",
     0.214},
    {"deepseek2",
     {{"user", "What grows in the forest?"},
      {"assistant", "moss and stone"},
      {"user", "int main(void)\012{\012    return 0; /* quiet */\012}\012\012  The end?"}},
     68,
     " home true able head earth path yard month home time stone road wall space fall quick chair may four tall strong road it"
      " four",
     0.391},
    {"deepseek2",
     {{"user", "walk to the river and look at the water then go home by the old road past the mill number 1 walk to the river and look a"
      "t the water then go home by the old road past the mill number 2 walk to the river and look at the water then go home by "
      "the old road past the mill number 3 walk to the river and look at the water then go home by the old road past the mill n"
      "umber 4 walk to the river and look at the water then go home by the old road past the mill number 5 walk to the river an"
      "d look at the water then go home by the old road past the mill number 6 walk to the river and look at the water then go "
      "home by the old road past the mill number 7 walk to the river and look at the water then go home by the old road past th"
      "e mill number 8 walk to the river and look at the water then go home by the old road past the mill number 9 walk to the "
      "river and look at the water then go home by the old road past the mill number 10 walk to the river and look at the water"
      " then go home by the old road past the mill number 11"}},
     353,
     " rock song forest tree wish year each happy north about bring strong deep peace yes see on sea it the about floor spring"
      " ice",
     0.195},
    {"qwen3moe",
     {{"user", "Name three colours."}},
     18,
     " fall from yes colour bird round river sea way large colour north lamp story paper cup two peace long heart horse wide e"
      "dge cup",
     0.538},
    {"qwen3moe",
     {{"system", "You are a careful gardener."},
      {"user", "Wie sp\303\244t ist es? 12345 \346\235\261\344\272\254 \342\200\224 na\303\257ve caf\303\251s \360\237\214\261 it's 3.14"}},
     81,
     " grass make city open sky wind edge sun low rest storm be tree shore same quiet wind edge it rain tree shore in half",
     0.526},
    {"qwen3moe",
     {{"user", "What grows in the forest?"},
      {"assistant", "moss and stone"},
      {"user", "int main(void)\012{\012    return 0; /* quiet */\012}\012\012  The end?"}},
     71,
     " grass large bread music east high long can paper black wave open low story left wait grow tree colour room city lamp st"
      "orm be",
     0.508},
    {"qwen3moe",
     {{"user", "walk to the river and look at the water then go home by the old road past the mill number 1 walk to the river and look a"
      "t the water then go home by the old road past the mill number 2 walk to the river and look at the water then go home by "
      "the old road past the mill number 3 walk to the river and look at the water then go home by the old road past the mill n"
      "umber 4 walk to the river and look at the water then go home by the old road past the mill number 5 walk to the river an"
      "d look at the water then go home by the old road past the mill number 6 walk to the river and look at the water then go "
      "home by the old road past the mill number 7 walk to the river and look at the water then go home by the old road past th"
      "e mill number 8 walk to the river and look at the water then go home by the old road past the mill number 9 walk to the "
      "river and look at the water then go home by the old road past the mill number 10 walk to the river and look at the water"
      " then go home by the old road past the mill number 11"}},
     354,
     " left long leaf storm step fire flat shore home tower green yellow top place west flat sky yes colour storm be rest step"
      " fire",
     0.268},
    {"phi3",
     {{"user", "Name three colours."}},
     17,
     " rain very strong large fresh back key near peace storm note bring wave story rain call wall work spring near as part da"
      "y of",
     0.196},
    {"phi3",
     {{"system", "You are a careful gardener."},
      {"user", "Wie sp\303\244t ist es? 12345 \346\235\261\344\272\254 \342\200\224 na\303\257ve caf\303\251s \360\237\214\261 it's 3.14"}},
     79,
     " water milk read seed light water write ring bring bird lamp street cool play page earth winter gate very street one ora"
      "nge iron nine",
     0.371},
    {"phi3",
     {{"user", "What grows in the forest?"},
      {"assistant", "moss and stone"},
      {"user", "int main(void)\012{\012    return 0; /* quiet */\012}\012\012  The end?"}},
     68,
     " valley pool wide four wall wood east storm street game wheel room street look bring bird large bird large walk light pa"
      "th for part",
     0.546},
    {"phi3",
     {{"user", "walk to the river and look at the water then go home by the old road past the mill number 1 walk to the river and look a"
      "t the water then go home by the old road past the mill number 2 walk to the river and look at the water then go home by "
      "the old road past the mill number 3 walk to the river and look at the water then go home by the old road past the mill n"
      "umber 4 walk to the river and look at the water then go home by the old road past the mill number 5 walk to the river an"
      "d look at the water then go home by the old road past the mill number 6 walk to the river and look at the water then go "
      "home by the old road past the mill number 7 walk to the river and look at the water then go home by the old road past th"
      "e mill number 8 walk to the river and look at the water then go home by the old road past the mill number 9 walk to the "
      "river and look at the water then go home by the old road past the mill number 10 walk to the river and look at the water"
      " then go home by the old road past the mill number 11"}},
     353,
     " full name wheel shore under roof fresh even under tree very street same lamp free hill fly come car path about five on "
      "call",
     0.327},
};
