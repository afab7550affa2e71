// The ECP5's block RAM as this design uses it: Yosys ships none that behaves. No output registers,
// no contents from the bitstream. What is read where the other port writes in the same clock is
// not defined; here it comes out wrong in every bit, so that nobody can rely on it.
module DP16KD (
	input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
	input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
	input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
	output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
	input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
	input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
	input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
	output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
	parameter DATA_WIDTH_A = 18;
	parameter DATA_WIDTH_B = 18;
	parameter REGMODE_A = "NOREG";
	parameter REGMODE_B = "NOREG";
	parameter RESETMODE = "SYNC";
	parameter ASYNC_RESET_RELEASE = "SYNC";
	parameter CSDECODE_A = "0b000";
	parameter CSDECODE_B = "0b000";
	parameter CLKAMUX = "CLKA";
	parameter CLKBMUX = "CLKB";
	parameter WRITEMODE_A = "NORMAL";
	parameter WRITEMODE_B = "NORMAL";
	parameter GSR = "AUTO";

	wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
	wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
	wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
	wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
	reg [17:0] doa, dob;
	assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
	assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;

	reg [17:0] words [0:1023];
	integer i;
	initial for (i = 0; i < 1024; i = i + 1) words[i] = 0;

	// Bits of a word that a port of this width at this address means, and how far up they are.
	function [17:0] lanes(input integer width, input [13:0] address);
		case (width)
			1: lanes = 18'h1 << place(width, address);
			2: lanes = 18'h3 << place(width, address);
			4: lanes = 18'hf << place(width, address);
			9: lanes = 18'h1ff << place(width, address);
			default: lanes = 18'h3ffff;
		endcase
	endfunction
	function [4:0] place(input integer width, input [13:0] address);
		case (width)
			1: place = address[3] * 9 + address[2:0];
			2: place = address[3] * 9 + address[2:1] * 2;
			4: place = address[3] * 9 + address[2] * 4;
			9: place = address[3] * 9;
			default: place = 0;
		endcase
	endfunction

	wire [17:0] lanes_a = lanes(DATA_WIDTH_A, ada), lanes_b = lanes(DATA_WIDTH_B, adb);
	wire [4:0] place_a = place(DATA_WIDTH_A, ada), place_b = place(DATA_WIDTH_B, adb);
	// At full width the two lowest address pins are byte enables.
	wire [17:0] mask_a = !(CEA && WEA) ? 18'b0 : lanes_a & (DATA_WIDTH_A == 18 ? {{9{ada[1]}}, {9{ada[0]}}} : 18'h3ffff);
	wire [17:0] mask_b = !(CEB && WEB) ? 18'b0 : lanes_b & (DATA_WIDTH_B == 18 ? {{9{adb[1]}}, {9{adb[0]}}} : 18'h3ffff);
	wire same = ada[13:4] == adb[13:4];

	always @(posedge CLKA) if (CEA && !WEA)
		doa <= ((words[ada[13:4]] ^ (same ? mask_b : 18'b0)) & lanes_a) >> place_a;
	always @(posedge CLKB) if (CEB && !WEB)
		dob <= ((words[adb[13:4]] ^ (same ? mask_a : 18'b0)) & lanes_b) >> place_b;
	always @(posedge CLKA) begin
		for (i = 0; i < 18; i = i + 1) begin
			if (mask_a[i]) words[ada[13:4]][i] <= (dia << place_a) >> i;
			if (mask_b[i]) words[adb[13:4]][i] <= (dib << place_b) >> i;
		end
	end
endmodule
