// Cells of the ECP5 of which Yosys ships no model that does anything.

// The block RAM, as Yosys uses it: without output registers, without contents from the bitstream,
// both ports at one clock.
//
// 1024 words of 18 bits. Ports of 1, 2 and 4 bits use the lower eight of each nine; a port of 36
// bits is both ports' data at two words. What is read where the other port writes in the same clock
// is not defined: here all bits that change are wrong, so that nobody can rely on them.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
        DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
        DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "AUTO";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";

    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7,
        DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
        DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
        ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
        ADB1, ADB0};
    reg [17:0] doa = 0, dob = 0;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
        DOB4, DOB3, DOB2, DOB1, DOB0} = dob;

    reg [17:0] words [0:1023];
    integer i;
    initial for (i = 0; i < 1024; i = i + 1) words[i] = 0;

    // The lowest bit in its word that an address means to a port of this width, and how many.
    function [4:0] place(input integer width, input [3:0] low);
        case (width)
            1: place = 9 * low[3] + low[2:0];
            2: place = 9 * low[3] + 2 * low[2:1];
            4: place = 9 * low[3] + 4 * low[2];
            9: place = 9 * low[3];
            default: place = 0;
        endcase
    endfunction
    function [17:0] lane(input integer width);
        lane = width >= 18 ? 18'h3ffff : (18'h1 << width) - 18'h1;
    endfunction

    localparam WIDE_A = DATA_WIDTH_A == 36, WIDE_B = DATA_WIDTH_B == 36;
    wire [4:0] place_a = place(DATA_WIDTH_A, ada[3:0]), place_b = place(DATA_WIDTH_B, adb[3:0]);
    wire [9:0] word_a = WIDE_A ? {ada[13:5], 1'b0} : ada[13:4];
    wire [9:0] word_b = WIDE_B ? {adb[13:5], 1'b1} : adb[13:4];
    wire write_a = CEA && WEA, write_b = CEB && WEB && !WIDE_A;
    // A port as wide as a word has byte enables where the others have their lowest address bits.
    wire [17:0] mask_a = !write_a ? 18'h0 : DATA_WIDTH_A >= 18 ? {{9{ada[1]}}, {9{ada[0]}}}
                                          : lane(DATA_WIDTH_A) << place_a;
    wire [17:0] mask_b = !write_b ? 18'h0 : DATA_WIDTH_B >= 18 ? {{9{adb[1]}}, {9{adb[0]}}}
                                          : lane(DATA_WIDTH_B) << place_b;
    wire [17:0] mask_high = WIDE_A && write_a ? {{9{ada[3]}}, {9{ada[2]}}} : 18'h0;

    // What a port finds in ``word``, with what is being written there by the other one inverted.
    wire [17:0] met_a = word_a == word_b ? mask_b : 18'h0;
    wire [9:0] low_b = {word_b[9:1], 1'b0};
    wire [17:0] met_b = word_b == word_a ? mask_a
                      : WIDE_A && word_b == (word_a | 10'h1) ? mask_high : 18'h0;
    wire [17:0] met_low = low_b == word_a ? mask_a : 18'h0;

    always @(posedge CLKA) begin
        if (CEA && !WEA && !WIDE_A && !WIDE_B)
            doa <= ((words[word_a] ^ met_a) >> place_a) & lane(DATA_WIDTH_A);
        if (WIDE_B && CEB) doa <= words[low_b] ^ met_low;
        if (CEB && !WEB) dob <= ((words[word_b] ^ met_b) >> place_b) & lane(DATA_WIDTH_B);
        if (RSTA) doa <= 0;
        if (RSTB) dob <= 0;
        if (write_a) words[word_a] <= words[word_a] & ~mask_a | (dia << place_a) & mask_a;
        if (WIDE_A && write_a)
            words[word_a | 10'h1] <= words[word_a | 10'h1] & ~mask_high | dib & mask_high;
        if (write_b) words[word_b] <= words[word_b] & ~mask_b | (dib << place_b) & mask_b;
    end
endmodule

// The multiplier, as Yosys uses it: without registers, each factor signed or not as a whole.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire signed [35:0] a = {{18{SIGNEDA & A17}},
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire signed [35:0] b = {{18{SIGNEDB & B17}},
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
        = a * b;
endmodule
