enum rdk_status {
    RDK_OK = 0,
    RDK_E_ARGUMENT = -1,    /* a parameter is outside its documented range */
    RDK_E_MEMORY = -2,      /* an allocation failed */
    RDK_E_OUTPUT_FULL = -3, /* the output buffer is too small; nothing beyond it was written */
    RDK_E_CORRUPT = -4,     /* the input breaks its format */
    RDK_E_LIMIT = -5        /* a stated limit was reached */
};
